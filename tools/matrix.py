"""The ways in which ./dev test builds rota, and which programs run in each."""

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Program:
    name: str
    command: list
    env: dict
    directory: str
    labels: set
    needs: list     # what has to be built to run it, itself included


def programs(directory):
    """The test programs of a configured build directory, those that take longest first."""
    tests, targets = (json.loads(subprocess.run(["meson", "introspect", what, directory], stdout=subprocess.PIPE,
                                                check=True).stdout) for what in ("--tests", "--targets"))
    files = {target["id"]: target["filename"] for target in targets}
    return [Program(test["name"], test["cmd"], test["env"], test["workdir"], {s.split(":")[-1] for s in test["suite"]},
                    [name for target in test["depends"] for name in files[target]])
            for test in sorted(tests, key=lambda test: -test["priority"])]


@dataclass
class Suite:
    name: str
    directory: str
    compiler: str = ""
    options: list = field(default_factory=list)
    wrapper: list = field(default_factory=list)
    arguments: list = field(default_factory=list)
    env: dict = field(default_factory=dict)
    scale: int = 1           # how much more time its cases get
    label: str = ""          # runs only programs with this label
    without: str = ""        # runs no programs with this label
    builds_all: bool = True  # else only the programs that it runs
    crowding: float = 1      # programs at once, for each processor
    stops: bool = False      # its programs write down where tasks stop, and the marks are compared with that

    def targets(self):
        """What to build; an empty list stands for everything."""
        if self.builds_all:
            return []
        return sorted({Path(name).relative_to(Path(self.directory).resolve())
                       for p in programs(self.directory) if self.takes(p) for name in p.needs})

    def takes(self, program):
        return (not self.label or self.label in program.labels) and self.without not in program.labels

    def prepare(self, root):
        """Gets ready before the build; returns why the suite cannot run here, or None."""
        if self.wrapper and not shutil.which(self.wrapper[0]):
            return f"there is no {self.wrapper[0]}"
        if self.compiler and not shutil.which(self.compiler):
            return f"there is no {self.compiler}"
        return None


class CrossSuite(Suite):
    """aarch64 under qemu-user, with the arm64 packages of libraries unpacked beside the build."""

    def prepare(self, root):
        if platform.machine() == "aarch64":
            return "this machine is one itself"
        missing = [tool for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64") if not shutil.which(tool)]
        if missing:
            return f"there is no {' '.join(missing)}"
        sysroot = root / "build-aarch64-sysroot"
        libraries = sysroot / "usr/lib/aarch64-linux-gnu"
        missing = [p for p, library in CROSS_PACKAGES.items() if not (libraries / library).exists()]
        if missing and not fetch_packages(sysroot, missing):
            return f"{' and '.join(missing)} for arm64 cannot be downloaded"
        (sysroot / "cross.ini").write_text(CROSS_FILE.format(sysroot=sysroot))
        return None


CROSS_FILE = """\
[binaries]
c = 'aarch64-linux-gnu-gcc'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']

[properties]
pkg_config_libdir = '{sysroot}/usr/lib/aarch64-linux-gnu/pkgconfig'
sys_root = '{sysroot}'

[built-in options]
c_args = ['-isystem{sysroot}/usr/include/aarch64-linux-gnu']
c_link_args = ['-L{sysroot}/usr/lib/aarch64-linux-gnu']

[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'armv8-a'
endian = 'little'
"""


CROSS_PACKAGES = {
    "libbrotli-dev": "libbrotlienc.a",
    "libnghttp2-dev": "libnghttp2.a",
    "libssl-dev": "libssl.a",
    "liburing-dev": "liburing.a",
    "libzstd-dev": "libzstd.a",
    "zlib1g-dev": "libz.a",
}


def fetch_packages(sysroot, packages):
    """Downloads and unpacks arm64's. apt gets package lists of its own for that, so the system's
    architectures stay as they are and no root is needed."""
    apt = sysroot / "apt"
    for part in ("lists/partial", "cache/archives/partial"):
        (apt / part).mkdir(parents=True, exist_ok=True)
    options = ["-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64",
               "-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache",
               "-o", "APT::Sandbox::User="]
    try:
        # An archive without arm64 among the sources makes update fail; the download tells.
        subprocess.run(["apt-get", *options, "update"], cwd=apt, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300, check=False)
        subprocess.run(["apt-get", *options, "download", *packages], cwd=apt, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300, check=True)
        for package in apt.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, sysroot], check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    finally:
        shutil.rmtree(apt, ignore_errors=True)
    # Their targets are in other packages; without the links the static libraries are found.
    for link in (Path(sysroot) / "usr/lib/aarch64-linux-gnu").glob("*.so"):
        link.unlink()
    return True


# The C++ compiler that goes with each. It builds tests only, and is not needed.
CXX = {"gcc": "g++", "clang": "clang++"}

ASAN = {
    "compiler": "clang",
    "options": ["-Db_lundef=false", "-Db_sanitize=address,undefined"],
    "env": {"ASAN_OPTIONS": "print_legend=0", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"},
    "scale": 5,
}


# Everything is built, also what the checks look at.
GCC = ["-Dbench=true", "-Dman=enabled"]


def failing(kind):
    """The programs again, with each point of that kind failing in turn; see tests/harness.h."""
    # These cases mostly wait for processes and threads to end, so there is room for more of them. Half the usual time
    # for each: the points that are left out are like those that are tried.
    return Suite(f"fail-{kind}", "build-asan", arguments=[f"--fail={kind}"], without="native", crowding=1.5,
                 **{**ASAN, "env": {**ASAN["env"], "ROTA_TEST_FAULT_SECONDS": "0.5"}})


TSAN_OPTIONS = f"halt_on_error=1:suppressions={Path(__file__).parent / 'tsan.supp'}"


# ./dev test quick: needs nothing but what rota itself is built with.
QUICK = Suite("quick", "build-quick", "gcc", ["-Dvalgrind=disabled"], without="native", builds_all=False)

SUITES = {suite.name: suite for suite in [
    Suite("gcc", "build-gcc", "gcc", GCC),
    Suite("clang", "build-clang", "clang", ["--buildtype=release"]),
    Suite("asan", "build-asan", stops=True, **ASAN),
    failing("alloc"),
    failing("syscall"),
    failing("suspend"),
    Suite("tsan", "build-tsan", "clang", ["-Db_lundef=false", "-Db_sanitize=thread"], scale=5, label="threads",
          builds_all=False, env={"TSAN_OPTIONS": TSAN_OPTIONS}),
    Suite("ucontext", "build-ucontext", "gcc", ["-Dcoro_switch=ucontext"], label="core", builds_all=False),
    Suite("valgrind", "build-gcc", "gcc", GCC, scale=5, label="core", builds_all=False,
          wrapper=["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
                   "--errors-for-leak-kinds=definite"]),
    CrossSuite("aarch64", "build-aarch64", "", ["--cross-file=build-aarch64-sysroot/cross.ini", "-Dprefer_static=true"],
               scale=5, without="native", wrapper=["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
]}
