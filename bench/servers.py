"""Rows of servers: CPU time of the server process a request, the median of the rounds."""

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from measure import LOAD_CORE, SERVER_CORE, Process, cpu_ns, run, wait_for_port
from nginx import unprivileged
from row import Row, Target, python


def echo_programs(bench):
    # Large blocks stay in malloc's hands instead of being mapped and unmapped at each read.
    tuned = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "16777216",
             "MALLOC_TOP_PAD_": "1048576"}
    return {
        **bench.rota("echo_rota"),
        "raw epoll": bench.program("raw_epoll_echo"),
        "raw io_uring": bench.program("raw_uring_echo", needs="liburing-dev"),
        "Go": bench.go("echo", threads=1),
        "libuv, guide's server": bench.program("uv_echo", needs="libuv1-dev"),
        "libuv, buffers kept": bench.program("uv_echo", "--kept", needs="libuv1-dev"),
        "libuv, uv_try_write": bench.program("uv_echo", "--try", needs="libuv1-dev"),
        "uvloop": python("echo_asyncio.py", "--uvloop", module="uvloop"),
        "asyncio": python("echo_asyncio.py", module="asyncio"),
        "asyncio, malloc tuned": python("echo_asyncio.py", module="asyncio", env=tuned),
    }


def under_load(load):
    """Measures a server's CPU time a request, in microseconds; `load(port)` is the program that makes
    the requests, between two pauses, and says how many they were."""
    def once(program):
        with Process(program.argv, SERVER_CORE, program.env, stdout=subprocess.PIPE) as server:
            port = server.line().split()[1]
            with Process(load(port), LOAD_CORE, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE) as client:
                client.line()
                before = cpu_ns(server.pid)
                client.child.stdin.write("\n")
                client.child.stdin.flush()
                answered = int(client.line())
                return (cpu_ns(server.pid) - before) / answered / 1000
    return once


@contextmanager
def serving(program, port):
    """A server, and its port. nginx and HAProxy, which run as nobody, print no port: theirs is `port`."""
    announces = not program.unprivileged
    user = {} if announces else unprivileged()
    with Process(program.argv, SERVER_CORE, program.env, stderr=subprocess.DEVNULL,
                 stdout=subprocess.PIPE if announces else subprocess.DEVNULL, **user) as server:
        at = int(server.line().split()[1]) if announces else port
        wait_for_port(at)
        yield server, at


def under_requests(make, port):
    """The same where `make(port)` makes requests and returns how many were answered."""
    def once(program):
        with serving(program, port) as (server, at):
            before = cpu_ns(server.pid)
            answered = make(at)
            return (cpu_ns(server.pid) - before) / answered / 1000
    return once


def echo(bench):
    rows = []
    for connections in (50, 500):
        row = Row(f"echo 1 KiB, {connections} connections, CPU per request", "us",
                  [Target(1.05, "raw epoll"), Target(0.85, "Go"), Target(0.6, "libuv, guide's server")],
                  limit="raw epoll")
        load = under_load(lambda port: [bench.bin / "load", port, connections, 20000])
        rows.append(bench.fill(row, echo_programs(bench), load))
    return rows


def udp(bench):
    """The windows of all sockets together fit a receive buffer of the default size."""
    row = Row("UDP echo 1 KiB, 16 sockets, CPU per datagram", "us",
              [Target(1.05, "raw recvmmsg"), Target(1, "Go")], limit="raw recvmmsg")
    programs = {
        **bench.rota("udp_echo_rota"),
        "raw recvmmsg": bench.program("raw_udp_echo"),
        "Go": bench.go("udp_echo", threads=1),
    }
    load = under_load(lambda port: [bench.bin / "udp_load", port, 16, 4, 50000])
    return [bench.fill(row, programs, load)]


def websocket(bench):
    row = Row("WebSocket echo 1 KiB, 50 connections, CPU per message", "us",
              [Target(0.5, "Go, x/net"), Target(0.2, "Python websockets")])
    programs = {
        **bench.rota("ws_echo_rota"),
        "Go, x/net": bench.go("ws_echo", threads=1, needs="golang-golang-x-net-dev"),
        "Go, gorilla": bench.go("ws_echo_gorilla", threads=1, needs="golang-github-gorilla-websocket-dev"),
        "Python websockets": python("ws_echo_websockets.py", module="websockets"),
    }
    load = under_load(lambda port: [bench.bin / "load", port, 50, 20000, "websocket"])
    return [bench.fill(row, programs, load)]


@contextmanager
def certificate():
    """A self-signed certificate and its key, in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as directory:
        files = Path(directory) / "certificate.pem", Path(directory) / "key.pem"
        run(["openssl", "req", "-x509", "-nodes", "-newkey", "ec",
             "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost",
             "-addext", "subjectAltName=DNS:localhost", "-days", "2",
             "-out", files[0], "-keyout", files[1]])
        yield files


# What is measured, its load and what it has to be. 0.95 of the handshakes a CPU second are 1.05 of the
# CPU time a handshake.
TLS = [("TLS echo 1 KiB, 50 connections, CPU per request", "echo", 50, 20000,
        [Target(1.1, "raw OpenSSL"), Target(1, "Go")]),
       ("TLS handshake, full, CPU per connection", "full", 10, 1000, [Target(1.05, "raw OpenSSL")]),
       ("TLS handshake, resumed, CPU per connection", "resumed", 10, 1000,
        [Target(1.05, "raw OpenSSL")])]


def tls_row(bench, files, work, mode, connections, count, targets):
    row = Row(work, "us", targets, limit="raw OpenSSL")
    rota = bench.rota("tls_echo_rota", *files)
    programs = {
        **(rota if mode == "echo" else {"rota": rota["rota"]}),
        "raw OpenSSL": bench.program("raw_tls_epoll", *files, needs="libssl-dev"),
        "Go": bench.go("tls_echo", *files, threads=1),
    }
    load = under_load(lambda port: [bench.bin / "tls_load", port, files[0], mode, connections, count])
    return bench.fill(row, programs, load)


def tls(bench):
    if not shutil.which("openssl"):
        return [Row(work, "us", targets, missing={"all of it": "needs openssl"})
                for work, *_, targets in TLS]
    with certificate() as files:
        return [tls_row(bench, files, *what) for what in TLS]
