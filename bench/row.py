"""A row of the table, the programs that fill it, and how thoroughly."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from measure import interleave, median, progress, progress_done, run

PEERS = Path(__file__).resolve().parent / "peers"
GO_PACKAGES = Path("/usr/share/gocode")  # Debian's
BEFORE = "rota before"  # the program of another revision


@dataclass
class Target:
    bound: float
    against: str | None = None  # a peer's or the limit's name; None: an absolute bound


@dataclass
class Row:
    work: str
    unit: str
    targets: list
    limit: str | None = None  # which of the figures is the limit
    figures: dict = field(default_factory=dict)  # program: figure, "rota" among them
    missing: dict = field(default_factory=dict)  # program: why it has no figure
    instructions: float | None = None
    topic: str = ""


@dataclass
class Program:
    argv: list
    env: dict = field(default_factory=dict)
    needs: str = ""  # what to install when it is not there
    unprivileged: bool = False  # runs as nobody when root starts it, and does not print `port N`


def python(script, *args, module, env=None):
    """Debian's modules belong to Debian's interpreter, which need not be the first in PATH."""
    for interpreter in ("/usr/bin/python3", sys.executable):
        if shutil.which(interpreter) and subprocess.run(
                [interpreter, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0:
            return Program([interpreter, PEERS / script, *args], env or {})
    return Program([f"python3 with {module}"], needs=f"python3-{module}")


def has_packages(source):
    """Whether all packages that a Go program imports beside those of Go itself are there."""
    names = re.findall(r'^\t"(.*\..*/.*)"$', source.read_text(), re.M)
    return all((GO_PACKAGES / "src" / name).is_dir() for name in names)


class Bench:
    """Where the built programs are, and how thoroughly to measure."""

    def __init__(self, build, rounds, before=None):
        self.bin = Path(build).resolve() / "bench"
        self.build = Path(build).resolve()
        self.before = before and Path(before).resolve()
        self.rounds = rounds

    def program(self, name, *args, env=None, needs=""):
        return Program([self.bin / name, *args], env or {}, needs)

    def rota(self, name, *args):
        """rota as it chooses for itself, and held to each backend."""
        return {
            "rota": self.program(name, *args),
            "rota on epoll": self.program(name, *args, env={"ROTA_BACKEND": "epoll"}),
            "rota on io_uring": self.program(name, *args, env={"ROTA_BACKEND": "uring"}),
        }

    def go(self, name, *args, threads=None, needs="golang-go"):
        env = {"GOMAXPROCS": str(threads)} if threads else {}
        return Program([self.bin / f"go_{name}", *args], env, needs)

    def build_go(self):
        if not shutil.which("go"):
            return
        env = {"GO111MODULE": "off", "GOPROXY": "off", "GOCACHE": str(self.build / "go-cache"),
               "GOFLAGS": "", "GOPATH": str(GO_PACKAGES)}
        for source in filter(has_packages, sorted(PEERS.glob("*.go"))):
            progress(f"building {source.name}")
            run(["go", "build", "-o", self.bin / f"go_{source.stem}", source], env=env)
        progress_done()

    def program_before(self, program):
        """The same program as the other revision built it."""
        path = self.before / Path(program.argv[0]).relative_to(self.build)
        return replace(program, argv=[path, *program.argv[1:]], needs="a build of the other revision with it")

    def fill(self, row, programs, measure, choose=median, rounds=None):
        """Measures all programs that are there and names the others in row.missing."""
        if self.before:
            programs = {"rota": programs["rota"], BEFORE: self.program_before(programs["rota"]), **programs}
        present = {}
        for name, program in programs.items():
            path = str(program.argv[0])
            if shutil.which(path):
                present[name] = program
            else:
                row.missing[name] = f"needs {program.needs}" if program.needs else "not built"
        figures, errors = interleave(row.work, present, rounds or self.rounds, measure)
        errors.pop(BEFORE, None)  # a row that it does not have
        row.missing.update(errors)
        row.figures = {name: choose(values) for name, values in figures.items()}
        return row
