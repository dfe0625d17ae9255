"""Compiles, and runs, the programs that README.md and the guide are made of, and the snippets of the headers.

The C blocks of a chapter (a heading of any depth) make one program. It is put together as the guide tells its readers:
two includes in front, where there are none, and a main behind that runs the last task function. Each is compiled
with and without warnings and run on the real clock. What it prints is what the chapter's ```text blocks say; "..." there
stands for anything on that line.
"""

import ast
import os
import re
import shlex
import signal
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TASK = re.compile(r"^static int (\w+)\(void \*\w*\)$", re.MULTILINE)
PRELUDE = "#include <rota.h>\n#include <stdio.h>\n"
MAIN = "\nint main(void) { return rota_main(%s, NULL); }\n"
ENVIRONMENT = {"ROTA_BACKEND", "ROTA_DEBUG", "ROTA_LOG"}
SNIPPET_PRELUDE = "#include <rota.h>\n#include <rota/test.h>\n#include <assert.h>\n#include <stdio.h>\n#include <stdlib.h>\n" \
                  "#include <fnmatch.h>\n#include <pthread.h>\n#include <string.h>\n#include <unistd.h>\n"
STRICT = ["-Wall", "-Wextra", "-Werror", "-O2", "-Wno-unused-parameter"]
SNIPPET = ["gcc", "-fsyntax-only", "-std=gnu17", *STRICT, "-Wno-unused-function", "-Wno-unused-variable"]
NAME = re.compile(r"\b(?:rota|ROTA)_\w*[a-zA-Z0-9](?!\w|\*|\.\.\.)")


@dataclass
class Program:
    title: str
    source: str
    output: str              # None: it is not run
    builds: tuple = (["gcc", "-Werror"], ["gcc", "-std=gnu17", *STRICT])    # compiler and flags of each
    file: str = "program.c"

    @property
    def package(self):
        if re.search(r"<rota/(http\w*|url|websocket)\.h>", self.source):
            return "rota-http"
        return "rota-tls" if "<rota/tls.h>" in self.source else "rota"


def chapters(text):
    """(title, [(language, block)]) of a Markdown file."""
    for part in re.split(r"^(?=##)", text, flags=re.MULTILINE):
        title = part.splitlines()[0].lstrip("# ") if part.strip() else ""
        yield title, BLOCK.findall(part)


def programs(path):
    for title, blocks in chapters(path.read_text()):
        code = "\n".join(block for language, block in blocks if language == "c")
        output = "".join(block for language, block in blocks if language == "text")
        yield from (cxx_program(f"{path.name}: {title}", block, output) for language, block in blocks
                    if language == "cpp")
        if not code:
            continue
        complete = "int main(" in code
        if "#include <rota.h>" not in code:
            code = PRELUDE + code
        if not complete:
            code += MAIN % TASK.findall(code)[-1]
        yield Program(f"{path.name}: {title}", code, None if complete and not output else output)


def cxx_program(title, code, output):
    source = PRELUDE + code + MAIN % TASK.findall(code)[-1]
    return Program(title, source, output, tuple([c, "-std=c++17", *STRICT] for c in ("g++", "clang++")),
                   "program.cpp")


def header_snippets(header, name):
    """What the opening of a header shows, as one file to be compiled."""
    opening = re.match(r"/\* (.*?) ?\*/", header.read_text(), re.DOTALL)[1]
    rows = [row[7:] for row in opening.splitlines() if row.startswith(" *     ") and row.strip(" *.")]
    definitions, statements = [], []
    for part in re.split(r"\n(?=[^\s{}])", "\n".join(rows)):
        defines = re.match(r"static |struct |int \w+\(|#", part)
        (definitions if defines else statements).append(part)
    source = [SNIPPET_PRELUDE, f"#include <{name}>", *definitions, "static int snippet(void)\n{", *statements, "return 0;\n}\n"]
    return Program(f"the snippets of <{name}>", "\n".join(source), None, (SNIPPET,))


def run(command, directory, env, limit=60):
    """Runs a command, with all that it starts; returns its status, output and errors."""
    process = subprocess.Popen([str(word) for word in command], cwd=directory, env=env, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        errors += f"stopped after {limit} s\n".encode()
    return process.returncode, output.decode(), errors.decode()


def matches(output, expected):
    pattern = "".join(".*" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", expected))
    return re.fullmatch(pattern, output)


def try_program(program, build):
    """Returns what is wrong with a program, or an empty string."""
    env = {**os.environ, "PKG_CONFIG_PATH": str(build / "meson-uninstalled")}
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / program.file).write_text(program.source)
        _, flags, _ = run(["pkg-config", "--cflags", "--libs", program.package], directory, env)
        flags = shlex.split(flags)
        paths = [flag.replace("-L", "-Wl,-rpath,", 1) for flag in flags if flag.startswith("-L")]
        for build_flags in program.builds:
            status, _, errors = run([*build_flags, program.file, "-o", "program", *flags, *paths], directory, env)
            if status != 0:
                return errors
        if program.output is None:
            return ""
        status, output, errors = run(["./program"], directory, env)
        if status != 0 or not matches(output, program.output):
            return f"exited with {status}\n{errors}--- printed\n{output}--- expected\n{program.output}"
    return ""


def unknown_names(path, include):
    declared = "".join(header.read_text() for header in include.rglob("*.h"))
    known = set(NAME.findall(declared))
    return sorted(name for name in set(NAME.findall(path.read_text())) - known - ENVIRONMENT)


def missing_codes(path, include):
    codes = re.findall(r"^    (ROTA_E\w+) = -6", (include / "rota/base.h").read_text(), re.MULTILINE)
    listed = re.findall(r"^\| `(ROTA_E\w+)` \|", path.read_text(), re.MULTILINE)
    return sorted(set(codes) - set(listed)) if codes else ["no codes found"]


def broken_pictures(root):
    """Pictures of Markdown files that are missing, no XML, or without a size to be scaled from."""
    for path in [*root.glob("*.md"), *root.glob("docs/*.md")]:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", path.read_text()):
            try:
                if "viewBox" not in ElementTree.parse(path.parent / target).getroot().attrib:
                    yield f"{path.name}: {target} has no viewBox"
            except (OSError, ElementTree.ParseError) as error:
                yield f"{path.name}: {target}: {error}"


def check(root, build):
    """Yields (title, problem) for each program; the problem is empty when all is well."""
    guide = root / "docs/guide.md"
    include = root / "include"
    found = [*programs(root / "README.md"), *programs(guide),
             *(header_snippets(h, h.relative_to(include)) for h in sorted(include.glob("rota/*.h")))]
    # More than there are processors: most of them sleep for seconds.
    with ThreadPoolExecutor(4 * (os.cpu_count() or 2)) as pool:
        yield from zip([p.title for p in found], pool.map(lambda p: try_program(p, build), found))
    yield "what the guide names is in the headers", "\n".join(unknown_names(guide, include))
    yield "the guide has all error codes", "\n".join(missing_codes(guide, include))
    yield "pictures are there, and well-formed", "\n".join(broken_pictures(root))
    for title, blocks in chapters(guide.read_text()):
        for language, block in blocks:
            if language == "python":
                try:
                    compile(block, title, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                    problem = ""
                except SyntaxError as error:
                    problem = str(error)
                yield f"guide.md: Python of {title}", problem
