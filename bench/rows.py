"""What is measured: one function a row name, each returning the rows it filled."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from measure import (LOAD_CORE, SERVER_CORE, Failed, Process, cpu_ns, free_port, interleave, median,
                     progress, progress_done, run, wait_for_port)

PEERS = Path(__file__).resolve().parent / "peers"


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


@dataclass
class Program:
    argv: list
    env: dict = field(default_factory=dict)
    needs: str = ""  # what to install when it is not there
    announces: bool = False  # prints `port N` for the port it took
    unprivileged: bool = False  # runs as nobody when root starts it


class Bench:
    """Where the built programs are, and how thoroughly to measure."""

    def __init__(self, build, rounds):
        self.bin = Path(build).resolve() / "bench"
        self.build = Path(build).resolve()
        self.rounds = rounds

    def program(self, name, *args, env=None, needs=""):
        return Program([self.bin / name, *args], env or {}, needs)

    def go(self, name, *args, threads=None):
        env = {"GOMAXPROCS": str(threads)} if threads else {}
        return Program([self.bin / f"go_{name}", *args], env, "golang-go")

    def build_go(self):
        if not shutil.which("go"):
            return
        env = {"GO111MODULE": "off", "GOPROXY": "off", "GOCACHE": str(self.build / "go-cache"),
               "GOFLAGS": ""}
        for name in ("micro", "echo"):
            progress(f"building {name}.go")
            run(["go", "build", "-o", self.bin / f"go_{name}", PEERS / f"{name}.go"], env=env)
        progress_done()

    def fill(self, row, programs, measure, choose=median, rounds=None):
        """Measures all programs that are there and names the others in row.missing."""
        present = {}
        for name, program in programs.items():
            path = str(program.argv[0])
            if shutil.which(path):
                present[name] = program
            else:
                row.missing[name] = f"needs {program.needs}" if program.needs else "not built"
        figures, errors = interleave(row.work, present, rounds or self.rounds, measure)
        row.missing.update(errors)
        row.figures = {name: choose(values) for name, values in figures.items()}
        return row


# Micro rows: nanoseconds an operation on one pinned core, the best of all repeats of all rounds.

def micro(bench, row, name, operations, peers, repeats=5, rounds=None):
    programs = {"rota": bench.program("micro", name), **peers}

    def once(program):
        return float(run([*program.argv, operations, repeats], SERVER_CORE, program.env))

    bench.fill(row, programs, once, choose=min, rounds=rounds)
    if "rota" in row.figures:
        row.instructions = instructions(bench, row, name, 100000)
    return [row]


def instructions(bench, row, name, count):
    """Instructions an operation: callgrind's difference between two numbers of operations."""
    if not shutil.which("valgrind"):
        row.missing["instruction count"] = "needs valgrind"
        return None

    def collected(operations):
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
             str(bench.bin / "micro"), name, str(operations), "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or not found:
            raise Failed(done.stderr.strip().splitlines()[-1] if done.stderr else "no count")
        return int(found.group(1))

    progress(f"{row.work}: counting instructions")
    try:
        return (collected(2 * count) - collected(count)) / count
    except (Failed, subprocess.TimeoutExpired) as error:
        row.missing["instruction count"] = str(error)
        return None
    finally:
        progress_done()


def switch(bench):
    row = Row("raw switch", "ns", [Target(0.75, "Boost.Context")], limit="six registers and a jump")
    return micro(bench, row, "switch", 10000000, {
        "rota by rota_coro_switch": bench.program("micro", "coro"),
        "six registers and a jump": bench.program("raw_switch", needs="x86-64"),
        "Boost.Context": bench.program("boost_switch", needs="libboost-context-dev")})


def go_row(bench, work, name, operations, targets, **options):
    row = Row(work, "ns", targets)
    return micro(bench, row, name, operations, {"Go": bench.go("micro", name, threads=1)}, **options)


def yield_(bench):
    return go_row(bench, "yield between ready tasks", "yield", 2000000,
                  [Target(15), Target(0.3, "Go")])


def queue(bench):
    targets = [Target(40), Target(0.4, "Go")]
    return (go_row(bench, "queue message, capacity 0", "queue0", 500000, targets) +
            go_row(bench, "queue message, capacity 64", "queue64", 1000000, targets))


def spawn(bench):
    return go_row(bench, "spawn and join", "spawn", 300000, [Target(60), Target(0.45, "Go")])


def timer(bench):
    """Repeats long enough to hold the sweeps by which Go gets rid of cancelled timers."""
    return go_row(bench, "arm and cancel a timer, a million armed", "timer", 2000000,
                  [Target(60), Target(0.15, "Go")], repeats=2, rounds=min(bench.rounds, 5))


def parked(bench):
    """Memory does not vary from run to run, so once is enough."""
    row = Row("a parked task, guarded, of a million", "KB", [Target(4.8)],
              limit="one page and its tables")

    def once(program):
        return float(run([*program.argv, 1000000])) / 1000

    bench.fill(row, {"one page and its tables": bench.program("raw_stacks"),
                     "rota": bench.program("micro", "parked"),
                     "Go": bench.go("micro", "parked")}, once, rounds=1)
    return [row]


def pool(bench):
    """Threads of a pool are meant to run beside the loop, so nothing is pinned here."""
    row = Row("job through a pool of 2 threads and back", "us", [Target(1)], limit="mutex and condition")

    def once(program):
        return float(run([*program.argv, 100000])) / 1000

    bench.fill(row, {"rota": bench.program("micro", "pool"),
                     "mutex and condition": bench.program("raw_pool"),
                     "Go": bench.go("micro", "pool")}, once, choose=min)
    return [row]


# Server rows: CPU time of the server process a request, the median of the rounds.

def python(*args, module, env=None):
    """Debian's modules belong to Debian's interpreter, which need not be the first in PATH."""
    for interpreter in ("/usr/bin/python3", sys.executable):
        if shutil.which(interpreter) and subprocess.run(
                [interpreter, "-c", f"import {module}"], stderr=subprocess.DEVNULL).returncode == 0:
            return Program([interpreter, PEERS / "echo_asyncio.py", *args], env or {})
    return Program([f"python3 with {module}"], needs=f"python3-{module}")


def echo_programs(bench):
    # Large blocks stay in malloc's hands instead of being mapped and unmapped at each read.
    tuned = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "16777216",
             "MALLOC_TOP_PAD_": "1048576"}
    return {
        "rota": bench.program("echo_rota"),
        "rota on epoll": bench.program("echo_rota", env={"ROTA_BACKEND": "epoll"}),
        "rota on io_uring": bench.program("echo_rota", env={"ROTA_BACKEND": "uring"}),
        "raw epoll": bench.program("raw_epoll_echo"),
        "raw io_uring": bench.program("raw_uring_echo", needs="liburing-dev"),
        "Go": bench.go("echo", threads=1),
        "libuv": bench.program("uv_echo", needs="libuv1-dev"),
        "libuv, uv_try_write": bench.program("uv_echo", "--try", needs="libuv1-dev"),
        "uvloop": python("--uvloop", module="uvloop"),
        "asyncio": python(module="asyncio"),
        "asyncio, malloc tuned": python(module="asyncio", env=tuned),
    }


def echo(bench):
    requests = 30000
    rows = []
    for connections in (50, 500):
        def once(program):
            with Process(program.argv, SERVER_CORE, program.env, stdout=subprocess.PIPE) as server:
                port = server.line().split()[1]
                with Process([bench.bin / "load", port, connections, requests], LOAD_CORE,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE) as load:
                    load.line()
                    before = cpu_ns(server.pid)
                    load.child.stdin.write("\n")
                    load.child.stdin.flush()
                    answered = int(load.line())
                    return (cpu_ns(server.pid) - before) / answered / 1000

        row = Row(f"echo 1 KiB, {connections} connections, CPU a request", "us",
                  [Target(1.05, "raw epoll"), Target(0.85, "Go"), Target(0.6, "libuv")],
                  limit="raw epoll")
        rows.append(bench.fill(row, echo_programs(bench), once))
    return rows


NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder};
    }}
}}
"""

HAPROXY = """
global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen bench
    bind 127.0.0.1:{port}
    server nginx 127.0.0.1:{target}
"""


def unprivileged():
    """nginx and HAProxy need no rights; started by root they run as nobody."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}


def wrk(port, connections=50, seconds=2):
    """Returns how many requests wrk had answered; fails if one of them went wrong."""
    text = run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s",
                f"http://127.0.0.1:{port}/page.html"], LOAD_CORE)
    if "Socket errors" in text or "Non-2xx" in text:
        raise Failed(f"wrk: {text.strip()}")
    return int(re.search(r"(\d+) requests in", text).group(1))


def sbin(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or name


def proxy(bench):
    row = Row("proxy in front of nginx, 50 connections, CPU a request", "us",
              [Target(1.0, "HAProxy")], limit="raw epoll")
    for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk")):
        if not shutil.which(sbin(tool)):
            row.missing["all of it"] = f"needs {package}"
            return [row]

    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody", "nogroup")
        target, listen = free_port(), free_port()
        (folder / "page.html").write_text("<p>rota</p>\n" * 341)  # 4 KB
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=target))
        (folder / "haproxy.conf").write_text(HAPROXY.format(port=listen, target=target))

        def once(program):
            user = unprivileged() if program.unprivileged else {}
            output = subprocess.PIPE if program.announces else subprocess.DEVNULL
            with Process(program.argv, SERVER_CORE, program.env, stdout=output,
                         stderr=subprocess.DEVNULL, **user) as server:
                port = int(server.line().split()[1]) if program.announces else listen
                wait_for_port(port)
                before = cpu_ns(server.pid)
                answered = wrk(port)
                return (cpu_ns(server.pid) - before) / answered / 1000

        programs = {
            "rota": Program([bench.build / "examples" / "proxy", f"127.0.0.1:{listen}",
                             f"127.0.0.1:{target}"], needs="examples"),
            "raw epoll": Program([bench.bin / "raw_epoll_proxy", target], announces=True),
            "HAProxy": Program([sbin("haproxy"), "-db", "-q", "-f", folder / "haproxy.conf"],
                               needs="haproxy", unprivileged=True),
        }
        nginx = [sbin("nginx"), "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]
        with Process(nginx, LOAD_CORE, stderr=subprocess.DEVNULL, **unprivileged()):
            wait_for_port(target)
            bench.fill(row, programs, once)
    return [row]


ROWS = {"switch": switch, "yield": yield_, "spawn": spawn, "queue": queue, "timer": timer,
        "parked": parked, "echo": echo, "proxy": proxy, "pool": pool}
