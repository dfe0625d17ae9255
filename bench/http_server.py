"""Rows of the HTTP server: wrk, and h2load for HTTP/2, against programs that answer the same."""

import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from measure import LOAD_CORE, Failed, free_port, run, wrk
from nginx import nginx
from row import Program, Row, Target
from runtime import micro
from servers import certificate, under_requests

OPTIONS = "sendfile on; tcp_nopush on; default_type text/plain;"
SITE = """
        listen 127.0.0.1:{tls_port} ssl http2;
        ssl_certificate {directory}/certificate.pem;
        ssl_certificate_key {directory}/key.pem;
        location = /hello {{ return 200 "Hello from the benchmark\\n"; }}
        location / {{ root {directory}; }}
"""

# What is measured: its load, the path, whether over TLS, and what it has to be.
ROWS = [("HTTP, 25 bytes, keep-alive, 50 connections, CPU per request", "wrk", "hello", False,
         [Target(1, "nginx"), Target(0.5, "Go")]),
        ("the same over TLS", "wrk", "hello", True, [Target(1, "nginx")]),
        ("the same by HTTP/2 over TLS, 10 streams at once", "h2load", "hello", True, [Target(1, "nginx")]),
        ("HTTP, file of 4 KiB, 50 connections, CPU per request", "wrk", "4k", False, [Target(1, "nginx")]),
        ("HTTP, file of 1 MiB, 50 connections, CPU per request", "wrk", "1m", False, [Target(1, "nginx")])]


def http_head(bench):
    row = Row("HTTP, a browser's head of 703 bytes parsed", "ns", [Target(250)])
    peers = {"http_parser": bench.program("http_parser_head", needs="libhttp-parser-dev")}
    return micro(bench, row, bench.program("http_head"), 5000, peers, repeats=200)


def h2load(url):
    text = run(["h2load", "-c50", "-m10", "-n40000", url], LOAD_CORE)
    done = int(re.search(r"(\d+) succeeded", text).group(1))
    if done != 40000:
        raise Failed(f"h2load: {text.strip()}")
    return done


def peers(bench, directory, secure, port, tls_port):
    site = SITE.format(directory=directory, tls_port=tls_port)
    return {
        "nginx": Program(nginx(directory, port, site, OPTIONS), needs="nginx-light", unprivileged=True),
        "Go": bench.go("http", directory, *secure, threads=1),
    }


def server_row(bench, directory, files, work, tool, path, tls, targets):
    row = Row(work, "us", targets, limit="raw epoll")
    port, tls_port = free_port(), free_port()
    secure = files if tls else []
    programs = {**bench.rota("http_rota", directory, *secure), **peers(bench, directory, secure, port, tls_port)}
    if path == "hello" and not tls:
        programs["raw epoll"] = bench.program("raw_epoll_http")

    load = wrk if tool == "wrk" else h2load
    make = under_requests(lambda at: load(f"http{'s' if tls else ''}://127.0.0.1:{at}/{path}"),
                          tls_port if tls else port)
    return bench.fill(row, programs, make)


@contextmanager
def site():
    """A directory that all servers can read, and the certificate with its key."""
    with certificate() as files, tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for source, target in zip(files, ("certificate.pem", "key.pem")):
            shutil.copy(source, directory / target)
            (directory / target).chmod(0o644)
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody", "nogroup")
        yield directory, files


def http(bench):
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client"), ("openssl", "openssl")):
        if not shutil.which(tool):
            return [Row(work, "us", targets, missing={"all of it": f"needs {package}"})
                    for work, *_, targets in ROWS]
    with site() as (directory, files):
        (directory / "4k").write_bytes(os.urandom(4096))
        (directory / "1m").write_bytes(os.urandom(1 << 20))
        return [server_row(bench, directory, files, *what) for what in ROWS]
