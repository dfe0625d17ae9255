#!/usr/bin/env python3
"""Builds rota in every way that matters and runs the tests: the work of `./dev test [NAME...]`.

A suite builds into build-<suite>/ and runs programs or checks there. Programs that use tests/harness.h
end with a line of counts; any other program counts as one test: status 0 passes, 77 skips, the rest
fails. The closing line sums up everything.
"""

import contextlib
import dataclasses
import itertools
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import check_dev
import check_docs
import check_man
import check_marks
import check_roots
import check_text
import matrix

ROOT = Path(__file__).resolve().parent.parent
COUNTS = re.compile(r"^# \S+: (\d+) passed, (\d+) failed, (\d+) skipped$", re.MULTILINE)
INTERACTIVE = sys.stdout.isatty() and not os.environ.get("CI")


class Tally:
    """Counts of one suite, and the report lines that go with them."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures, self.reasons = [], {}
        self.seconds = {}    # by program

    def add_pass(self, count=1):
        self.passed += count

    def add_failure(self, title, detail=""):
        self.failed += 1
        self.failures.append(f"FAIL {title}\n{detail}".rstrip())

    def add_skip(self, reason, count=1):
        self.skipped += count
        self.reasons[reason] = self.reasons.get(reason, 0) + count

    def add_check(self, title, ok, detail=""):
        if ok:
            self.add_pass()
        else:
            self.add_failure(title, detail)


def show_progress(text):
    if INTERACTIVE:
        print(f"\r\033[K{text}", end="", flush=True)


RUNNING = set()    # commands
ENDING = threading.Event()


def run(command, env=None, limit=900, cwd=ROOT):
    """Runs a command to its end; returns its status (None when out of time) and all its output. Out of time are also
    programs that the command has left running, if they hold its output."""
    with subprocess.Popen([str(word) for word in command], cwd=cwd, env={**os.environ, **(env or {})},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True) as child:
        RUNNING.add(child)
        if ENDING.is_set():     # the signal came while it was started
            os.killpg(child.pid, signal.SIGTERM)
        try:
            output, _ = child.communicate(timeout=limit)
            status = child.returncode
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            try:
                output, _ = child.communicate(timeout=10)
            except subprocess.TimeoutExpired as late:  # held by a program that has left the session
                output = late.output or b""
            status = None
        finally:
            RUNNING.discard(child)
        return status, output.decode(errors="replace")


def end(_number, _frame):
    """Ends the commands, which have sessions of their own and so do not get a Ctrl-C. Their files are then removed."""
    ENDING.set()
    for child in list(RUNNING):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
    raise KeyboardInterrupt


def end_on_signals():
    # SIGINT is ignored in what a script starts in the background, and then by all that is started from here.
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)


PLACES = ["/tmp", "/var/tmp", "/dev/shm"]


def remove_leftovers(directory):
    """Removes what a program has left of its files: in `directory`, its TMPDIR, and of its cases', which the
    harness names after ROTA_TEST_RUN. Returns their names."""
    run_number = directory.name.rpartition("-")[2]
    left = [*directory.iterdir(), *(p for place in PLACES for p in Path(place).glob(f"rota-test-{run_number}-*"))]
    for path in [*left, directory]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return [str(path) for path in left]


RUN_NUMBERS = itertools.count(1)


def new_run_directory():
    """A directory for one program's temporary files, with a number that no other program has."""
    while True:
        directory = Path(tempfile.gettempdir()) / f"rota-run-{os.getpid() % 99999 + 1}{next(RUN_NUMBERS):04}"
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        directory.chmod(0o755)  # tests' servers may run as another user
        return directory


def run_program(tally, suite, program, words):
    """Runs one test program and adds what it counted."""
    start = time.monotonic()
    directory = new_run_directory()
    status, output = run([*suite.wrapper, *program.command, *suite.arguments, *words],
                         {**program.env, **suite.env, "ROTA_TEST_SCALE": str(suite.scale),
                          "TMPDIR": str(directory), "ROTA_TEST_RUN": directory.name.rpartition("-")[2]},
                         cwd=program.directory or ROOT)
    tally.seconds[program.name] = time.monotonic() - start
    title = f"{suite.name}: {program.name}"
    left = remove_leftovers(directory)
    if left:
        tally.add_failure(f"{title} leaves files behind", "\n".join(left))
    counts = COUNTS.findall(output)
    if status is None:
        tally.add_failure(title, f"{output}\nstopped after 900 s")
        return
    if not counts:
        if status == 77:
            tally.add_skip(output.strip().splitlines()[-1] if output.strip() else program.name)
        else:
            tally.add_check(title, status == 0, f"{output}\nexited with {status}")
        return

    passed, failed, skipped = map(int, counts[-1])
    tally.add_pass(passed)
    for reason in re.findall(r"^SKIP [^:]+: (.*)$", output, re.MULTILINE)[:skipped]:
        tally.add_skip(reason)
    if failed or status != 0:
        # The last failure carries the program's whole report.
        tally.failed += max(failed, 1) - 1
        tally.add_failure(title, COUNTS.sub("", output))


def build(suite):
    """Configures and builds a suite's directory; returns None, or what went wrong."""
    directory = ROOT / suite.directory
    env = {"CC": suite.compiler, "CXX": matrix.CXX[suite.compiler]} if suite.compiler else {}
    made_with = directory / "made-with.txt"
    parts = sorted(str(p.relative_to(ROOT)) for p in [*ROOT.glob("*/meson.build"), *ROOT.glob("*/*/meson.build"),
                                                      *ROOT.glob("tests/*.c*")])
    options = "\n".join([suite.compiler, *suite.options, *parts])
    if not made_with.exists() or made_with.read_text() != options:
        shutil.rmtree(directory, ignore_errors=True)
        status, output = run(["meson", "setup", directory, "--werror", "-Dman=disabled", *suite.options], env)
        if status != 0:
            return output
        made_with.write_text(options)
    status, output = run(["ninja", "-C", directory, *suite.targets()], limit=1800)
    return None if status == 0 else output


def run_suite(suite, wanted):
    """Runs a suite of programs. `wanted` maps names of programs to words for their case filter."""
    tally = Tally()
    reason = suite.prepare(ROOT)
    if reason:
        tally.add_skip(f"{suite.name}: {reason}")
        return tally
    show_progress(f"{suite.name}: building")
    start = time.monotonic()
    problem = build(suite)
    tally.seconds["(build)"] = time.monotonic() - start
    if problem:
        tally.add_failure(f"{suite.name}: does not build", problem[-6000:])
        return tally

    programs = [p for p in matrix.programs(ROOT / suite.directory)
                if suite.takes(p) and (not wanted or p.name in wanted)]
    done = []

    def one(program):
        run_program(tally, suite, program, wanted.get(program.name, []))
        done.append(program)
        show_progress(f"{suite.name}: {len(done)} of {len(programs)} programs")

    with contextlib.ExitStack() as stack:
        if suite.stops:
            stops = stack.enter_context(tempfile.NamedTemporaryFile("r", prefix="rota-stops-"))
            os.chmod(stops.name, 0o666)  # tests' servers may run as another user
            suite = dataclasses.replace(suite, env={**suite.env, "ROTA_TEST_STOPS": stops.name})
        with ThreadPoolExecutor(math.ceil(suite.crowding * (os.cpu_count() or 2))) as pool:
            list(pool.map(one, programs))
        if suite.stops and not wanted:
            wrong = check_marks.unmarked(stops.read().splitlines())
            tally.add_check("what has suspended is marked so", not wrong, "\n".join(wrong))
    return tally


def check_includes():
    tally = Tally()
    for arguments in ([], ["--self-test"]):
        status, output = run(["tools/check-includes", *arguments])
        tally.add_check(f"check-includes {' '.join(arguments)}", status == 0, output)
    return tally


def check_files():
    """Tests put files only where they are looked for afterwards: in the directory of the case, or in TMPDIR."""
    tally = Tally()
    strange = [f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
               for path in sorted([*(ROOT / "tests").rglob("*.[ch]"), *(ROOT / "tests").rglob("*.py")])
               for number, line in enumerate(path.read_text().splitlines(), 1)
               if re.search(r"""["'](/tmp|/var/tmp|/dev/shm)/""", line)]
    tally.add_check("tests name no directory for temporary files", not strange, "\n".join(strange))

    def leave(words):
        directory = new_run_directory()
        subprocess.run(["sh", "-c", words], env={**os.environ, "TMPDIR": str(directory),
                                                 "ROTA_TEST_RUN": directory.name.rpartition("-")[2]}, check=True)
        left = remove_leftovers(directory)
        return left and not directory.exists() and not any(Path(path).exists() for path in left)

    tally.add_check("files in TMPDIR are found and removed", leave("mkdir $TMPDIR/d && touch $TMPDIR/d/f"))
    tally.add_check("directories of cases are found and removed", leave("mkdir /tmp/rota-test-$ROTA_TEST_RUN-1"))
    tally.add_check("where there are none, none are found", not leave("true"))

    def end_run(number):
        """Ends a run by a signal; whether it ends at once and leaves nothing, neither files nor processes."""
        note = Path(place) / f"note-{number}"
        program = f"""
import test
test.end_on_signals()
sleeper = test.matrix.Program("x", ["sh", "-c", 'sleep 60 & echo $TMPDIR >{note}; sleep 60'], {{}}, None, set(), [])
with test.ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda p: test.run_program(test.Tally(), test.matrix.SUITES["gcc"], p, []), [sleeper]))
"""
        start = time.monotonic()
        with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT / "tools", stderr=subprocess.DEVNULL) as child:
            while child.poll() is None and not (note.exists() and note.read_text().endswith("\n")):
                time.sleep(0.01)
            child.send_signal(number)
        directory = Path(note.read_text().strip())
        return directory.name and not directory.exists() and time.monotonic() - start < 30

    with tempfile.TemporaryDirectory() as place:
        for number in (signal.SIGTERM, signal.SIGINT):
            tally.add_check(f"a run that {number.name} ends leaves nothing", end_run(number))
    start = time.monotonic()
    status, output = run(["sh", "-c", "echo begun; sleep 60 & sleep 60"], limit=0.5)
    tally.add_check("a command that is out of time ends with what it started",
                    status is None and output == "begun\n" and time.monotonic() - start < 30)
    return tally


# Where they lie in a build directory, without their endings.
LIBRARIES = ["librota", "src/tls/librota-tls", "src/http/librota-http"]


def check_symbols():
    """The shared libraries export rota_..., the static ones rota_... and rota__..., and every function
    that a public header declares is in one of them."""
    tally, suite = Tally(), matrix.SUITES["gcc"]
    problem = build(suite)
    if problem:
        tally.add_failure("symbols: does not build", problem[-6000:])
        return tally

    def names(*arguments):
        _, output = run(["nm", "--defined-only", *arguments], cwd=ROOT / suite.directory)
        return {line.split()[-1] for line in output.splitlines() if len(line.split()) == 3}

    exported = set()
    for library in LIBRARIES:
        shared, static = names("-D", f"{library}.so"), names("-g", f"{library}.a")
        strange = sorted(n for n in shared if not re.match(r"rota_(?!_)", n))
        tally.add_check(f"{library}.so exports only rota_...", shared and not strange, "\n".join(strange))
        strange = sorted(n for n in static if not n.startswith("rota_"))
        tally.add_check(f"{library}.a defines only rota_... and rota__...", static and not strange, "\n".join(strange))
        exported |= shared

    declared = set()
    for header in (ROOT / "include").glob("rota/*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        declared |= set(re.findall(r"^(?:ROTA_API|ROTA_SUSPENDS(?:_SHIELDED(?:_RESULT)?)?)\b[^;{(]*?\b(rota_\w+)\(", text,
                                   re.MULTILINE))
    missing = sorted(declared - exported)
    tally.add_check("the libraries have what the headers declare", declared and not missing, "\n".join(missing))
    wrong = check_marks.violations(ROOT / suite.directory)
    tally.add_check("what may suspend is marked so", not wrong, "\n".join(wrong))
    return tally


def public_macros():
    """The macros of the public headers, except those that only the headers use."""
    text = "\n".join(header.read_text() for header in (ROOT / "include").glob("rota/*.h"))
    macros = set(re.findall(r"^#define (ROTA_[A-Z]\w*|rota_[a-z]\w*)", text, re.MULTILINE))
    return {m for m in macros if not re.fullmatch(r"ROTA_(\w+_H|API|SUSPENDS\w*)", m)}


def check_install():
    """Installs into a temporary directory and uses the library from there, as a stranger would."""
    tally, suite = Tally(), matrix.SUITES["gcc"]
    problem = build(suite)
    if problem:
        tally.add_failure("install: does not build", problem[-6000:])
        return tally
    with tempfile.TemporaryDirectory() as directory:
        destination = Path(directory)
        status, output = run(["meson", "install", "-C", suite.directory, "--no-rebuild"], {"DESTDIR": directory})
        tally.add_check("meson install", status == 0, output)
        tally.add_check("man rota_run", any(destination.rglob("man3/rota_run.3")))
        config = next(destination.rglob("rota.pc"), None)
        if not config:
            tally.add_failure("install: there is no rota.pc")
            return tally
        env = {"PKG_CONFIG_PATH": str(config.parent), "PKG_CONFIG_SYSROOT_DIR": directory,
               "LD_LIBRARY_PATH": str(config.parent.parent)}

        def flags(*arguments, package="rota"):
            return shlex.split(run(["pkg-config", *arguments, package], env)[1])

        unused = sorted(public_macros() - set(re.findall(r"\w+", (ROOT / "tests/installed.c").read_text())))
        tally.add_check("tests/installed.c uses every public macro", not unused, "\n".join(unused))
        include, program = flags("--cflags"), destination / "installed"
        for compiler in ("gcc", "clang"):
            for link in (["--libs"], ["--static", "--libs"]):
                kind = ["-static"] if "--static" in link else []
                status, output = run([compiler, "-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *kind, *include,
                                      "tests/installed.c", "-o", program, *flags(*link)], env)
                if status == 0:
                    status, output = run([program], env, limit=60)
                tally.add_check(f"program with {compiler} and {' '.join(link)}", status == 0, output)
        for compiler in ("g++", "clang++"):
            status, output = run([compiler, "-x", "c++", "-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                                  *include, "tests/installed.c", "-o", program, *flags("--libs")], env)
            if status == 0:
                status, output = run([program], env, limit=60)
            tally.add_check(f"program with {compiler}", status == 0, output)
        for package, source in (("rota-tls", "tests/installed_tls.c"), ("rota-http", "tests/installed_http.c")):
            for link in (["--libs"], ["--static", "--libs"]):
                kind = ["-static"] if "--static" in link else []
                status, output = run(["gcc", "-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", *kind,
                                      *flags("--cflags", package=package), source, "-o", program,
                                      *flags(*link, package=package)], env)
                if status == 0:
                    status, output = run([program], env, limit=60)
                tally.add_check(f"program with {package} and {' '.join(link)}", status == 0, output)
        headers = sorted(p.relative_to(ROOT / "include") for p in (ROOT / "include").rglob("*.h"))
        for header in headers:
            for compiler, standard in (("g++", "c++17"), ("clang++", "c++17"), ("gcc", "c17")):
                source = destination / f"header.{'cpp' if standard == 'c++17' else 'c'}"
                source.write_text(f"#include <{header}>\n")
                status, output = run([compiler, f"-std={standard}", "-fsyntax-only", "-Wall", "-Wextra",
                                      "-Werror", *include, source], env)
                tally.add_check(f"<{header}> alone with {compiler} -std={standard}", status == 0, output)
    return tally


def check_manual():
    """The man pages say what the headers declare, and are fit to be read."""
    tally, suite = Tally(), matrix.SUITES["gcc"]
    problem = build(suite)
    if problem:
        tally.add_failure("man: does not build", problem[-6000:])
        return tally
    for title, problems in check_man.check(ROOT, ROOT / suite.directory / "docs/man"):
        tally.add_check(f"man: {title}", not problems, "\n".join(problems))
    return tally


def check_documents():
    """The programs of README.md and the guide and the snippets of the headers build, and do what is said."""
    tally, suite = Tally(), matrix.SUITES["gcc"]
    problem = build(suite)
    if problem:
        tally.add_failure("docs: does not build", problem[-6000:])
        return tally
    for title, problem in check_docs.check(ROOT, ROOT / suite.directory):
        tally.add_check(f"docs: {title}", not problem, problem)
    return tally


def check_wrapping():
    """Markdown and comments keep to their columns."""
    tally = Tally()
    for title, problems in check_text.check(ROOT):
        tally.add_check(f"text: {title}", not problems, "\n".join(problems))
    return tally


def check_entry():
    """What ./dev does before it builds anything."""
    tally = Tally()
    for title, problem in check_dev.check(ROOT):
        tally.add_check(f"dev: {title}", not problem, problem)
    return tally


def check_fresh_systems():
    """What README.md says works on minimal Debian systems."""
    tally = Tally()
    for title, problem, reason in check_roots.check(ROOT):
        if reason:
            tally.add_skip(f"{title}: {reason}")
        else:
            tally.add_check(f"roots: {title}", not problem, problem)
    return tally


CHECKS = {"includes": check_includes, "text": check_wrapping, "dev": check_entry, "files": check_files,
          "symbols": check_symbols, "install": check_install, "man": check_manual, "docs": check_documents,
          "roots": check_fresh_systems}


def parse(names):
    """Splits the names into suites and {program: [words]}."""
    suites, wanted = [], {}
    if names == ["quick"]:
        return ["includes", "text", "dev", "files", "quick"], {}
    for name in names:
        if name in matrix.SUITES or name in CHECKS:
            suites.append(name)
            continue
        program, _, word = name.partition(":")
        program = Path(program).stem.removesuffix("_test")
        wanted.setdefault(program, []).extend([word] if word else [])
    everything = [*matrix.SUITES] if wanted else [*CHECKS, *matrix.SUITES]
    return suites or everything, wanted


def main():
    os.chdir(ROOT)
    end_on_signals()
    names = [word for word in sys.argv[1:] if word != "--times"]
    suites, wanted = parse(names)
    total = Tally()
    for name in suites:
        start = time.monotonic()
        show_progress(f"{name}: starting")
        tally = CHECKS[name]() if name in CHECKS else run_suite({"quick": matrix.QUICK, **matrix.SUITES}[name], wanted)
        show_progress("")
        print(f"{name:12} {tally.passed:5} passed, {tally.failed} failed, {tally.skipped} skipped"
              f"  ({time.monotonic() - start:.0f} s)")
        for reason, count in tally.reasons.items():
            print(f"    skipped {count}: {reason}")
        if len(names) < len(sys.argv[1:]):
            for program, seconds in sorted(tally.seconds.items(), key=lambda item: -item[1]):
                print(f"    {seconds:6.1f} s  {program}")
        for failure in tally.failures:
            print(failure)
        sys.stdout.flush()
        total.passed += tally.passed
        total.failed += tally.failed
        total.skipped += tally.skipped
    if wanted and not (total.passed or total.failed or total.skipped):
        total.add_failure(f"no test matches {' '.join(names)}")
        print(total.failures[-1])
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
