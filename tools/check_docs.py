"""Compiles, and runs, the programs that README.md and the guide are made of, and the snippets of the headers.

The C blocks of a chapter (a "##" heading) make one program. Where they have no main, one is added that runs
the last of their task functions: on the virtual clock, or by rota_run where a block is marked ```c real-time.
What it prints is what the chapter's ```text blocks say; "..." there stands for anything on that line.
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

BLOCK = re.compile(r"^```(\w+(?: real-time)?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TASK = re.compile(r"^static int (\w+)\(void \*\w+\)$", re.MULTILINE)
PRELUDE = "#include <rota.h>\n#include <rota/test.h>\n#include <assert.h>\n#include <fnmatch.h>\n" \
          "#include <pthread.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n"
MAIN = """
int main(void)
{
    int err = %s(%s, NULL);
    if (err < 0)
        fprintf(stderr, "%%s\\n", rota_strerror(err));
    return err < 0;
}
"""
WARNINGS = ["-std=gnu17", "-Wall", "-Wextra", "-Werror",
            # A task function takes its argument whether it needs one or not.
            "-Wno-unused-parameter"]
SNIPPET = ["-fsyntax-only", "-Wno-unused-function", "-Wno-unused-variable"]


@dataclass
class Program:
    title: str
    source: str
    output: str              # None: it is not run
    flags: tuple = ("-o", "program")

    @property
    def package(self):
        if re.search(r"<rota/(http\w*|url|websocket)\.h>", self.source):
            return "rota-http"
        return "rota-tls" if "<rota/tls.h>" in self.source else "rota"


def chapters(text):
    """(title, [(language, block)]) of a Markdown file."""
    for part in re.split(r"^(?=## )", text, flags=re.MULTILINE):
        title = part.splitlines()[0].lstrip("# ") if part.strip() else ""
        yield title, BLOCK.findall(part)


def programs(path):
    for title, blocks in chapters(path.read_text()):
        code = "\n".join(block for language, block in blocks if language.startswith("c"))
        start = "rota_run" if any(language.endswith("real-time") for language, _ in blocks) else "rota_test_run"
        output = "".join(block for language, block in blocks if language == "text")
        if not code:
            continue
        complete = "int main(" in code
        if "#include <rota.h>" not in code:
            code = PRELUDE + code
        if not complete:
            code += MAIN % (start, TASK.findall(code)[-1])
        yield Program(f"{path.name}: {title}", code, None if complete and not output else output)


def header_snippets(header, name):
    """What the opening of a header shows, as one file to be compiled."""
    opening = re.match(r"/\* (.*?) ?\*/", header.read_text(), re.DOTALL)[1]
    rows = [row[7:] for row in opening.splitlines() if row.startswith(" *     ") and row.strip(" *.")]
    definitions, statements = [], []
    for part in re.split(r"\n(?=[^\s{}])", "\n".join(rows)):
        defines = re.match(r"static |struct |int \w+\(|#", part)
        (definitions if defines else statements).append(part)
    source = [PRELUDE, f"#include <{name}>", *definitions, "static int snippet(void)\n{", *statements, "return 0;\n}\n"]
    return Program(f"the snippets of <{name}>", "\n".join(source), None, SNIPPET)


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
        (Path(directory) / "program.c").write_text(program.source)
        _, flags, _ = run(["pkg-config", "--cflags", "--libs", program.package], directory, env)
        flags = shlex.split(flags)
        paths = [flag.replace("-L", "-Wl,-rpath,", 1) for flag in flags if flag.startswith("-L")]
        status, _, errors = run(["gcc", *WARNINGS, "program.c", *program.flags, *flags, *paths], directory, env)
        if status != 0 or program.output is None:
            return errors
        status, output, errors = run(["./program"], directory, env)
        if status != 0 or not matches(output, program.output):
            return f"exited with {status}\n{errors}--- printed\n{output}--- expected\n{program.output}"
    return ""


def check(root, build):
    """Yields (title, problem) for each program; the problem is empty when all is well."""
    guide = root / "docs/guide.md"
    include = root / "include"
    found = [*programs(root / "README.md"), *programs(guide),
             *(header_snippets(h, h.relative_to(include)) for h in sorted(include.glob("rota/*.h")))]
    with ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        yield from zip([p.title for p in found], pool.map(lambda p: try_program(p, build), found))
    for title, blocks in chapters(guide.read_text()):
        for language, block in blocks:
            if language == "python":
                try:
                    compile(block, title, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                    problem = ""
                except SyntaxError as error:
                    problem = str(error)
                yield f"guide.md: Python of {title}", problem
