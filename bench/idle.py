"""Rows of idle connections: memory of an HTTP server for each that has made a request and waits."""

import re
import resource
import shutil
import socket
import ssl
from pathlib import Path

from http_server import peers, site
from measure import Failed, free_port
from row import Row, Target
from servers import serving

# What is measured: the connections, whether over TLS, and how much memory each may take.
ROWS = [("idle keep-alive connection, of 10,000, memory", 10000, False, [Target(12)]),
        ("the same over TLS", 10000, True, [Target(40)])]
FIRST = 100  # so that what a server makes once is there before the first look
OTHERS = 200  # descriptors beside those of the connections


def kilobytes(pid):
    """Resident memory and page tables, as for the parked task."""
    status = Path(f"/proc/{pid}/status").read_text()
    return sum(int(n) for n in re.findall(r"^Vm(?:RSS|PTE):\s*(\d+) kB", status, re.M)) * 1.024


def connect(port, context):
    """A connection that has made its request."""
    s = socket.create_connection(("127.0.0.1", port), timeout=10)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the request waits for an acknowledgement
    if context:
        s = context.wrap_socket(s)
    s.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reply = b""
    while not reply.endswith(b"Hello from the benchmark\n"):
        some = s.recv(4096)
        if not some:
            raise Failed("an idle connection was closed")
        reply += some
    return s


def has_descriptors(count):
    """Whether this process, and those it starts, may have so many; the limit is raised as far as it goes."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard == resource.RLIM_INFINITY or hard >= count


def idle_row(bench, directory, files, work, count, tls, targets):
    row = Row(work, "KB", targets)
    if not has_descriptors(count + OTHERS):
        row.missing["all of it"] = f"needs a limit of {count + OTHERS} open files (ulimit -Hn)"
        return row
    ports = free_port(), free_port()
    secure = files if tls else []
    context = ssl._create_unverified_context() if tls else None
    programs = {"rota": bench.program("http_rota", directory, *secure), **peers(bench, directory, secure, *ports)}

    def once(program):
        kept = []
        try:
            with serving(program, ports[tls]) as (server, at):
                kept += [connect(at, context) for _ in range(FIRST)]
                before = kilobytes(server.pid)
                kept += [connect(at, context) for _ in range(count - FIRST)]
                return (kilobytes(server.pid) - before) / (count - FIRST)
        finally:  # after the server, which so has the sockets that wait for late packets
            for s in kept:
                s.close()

    return bench.fill(row, programs, once, rounds=1)


def idle(bench):
    if not shutil.which("openssl"):
        return [Row(work, "KB", targets, missing={"all of it": "needs openssl"}) for work, *_, targets in ROWS]
    with site() as (directory, files):
        return [idle_row(bench, directory, files, *what) for what in ROWS]
