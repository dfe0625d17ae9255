"""The row of the proxy: wrk in front of it, nginx behind."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import LOAD_CORE, Process, free_port, wait_for_port, wrk
from nginx import nginx, sbin, unprivileged
from row import Program, Row, Target
from servers import under_requests

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


def proxy(bench):
    row = Row("proxy in front of nginx, 50 connections, CPU per request", "us",
              [Target(1.0, "HAProxy")], limit="raw epoll")
    for tool, package in (("nginx", "nginx-light"), ("wrk", "wrk")):
        if not shutil.which(sbin(tool)):
            row.missing["all of it"] = f"needs {package}"
            return [row]

    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody", "nogroup")
        target, listen = free_port(), free_port()
        (directory / "page.html").write_text("<p>rota</p>\n" * 341)  # 4 KB
        (directory / "haproxy.conf").write_text(HAPROXY.format(port=listen, target=target))

        programs = {
            "rota": Program([bench.build / "examples" / "proxy", "127.0.0.1:0", f"127.0.0.1:{target}"],
                            needs="examples"),
            "raw epoll": Program([bench.bin / "raw_epoll_proxy", target]),
            "HAProxy": Program([sbin("haproxy"), "-db", "-q", "-f", directory / "haproxy.conf"],
                               needs="haproxy", unprivileged=True),
        }
        with Process(nginx(directory, target), LOAD_CORE, stderr=subprocess.DEVNULL, **unprivileged()):
            wait_for_port(target)
            bench.fill(row, programs, under_requests(lambda port: wrk(f"http://127.0.0.1:{port}/page.html"), listen))
    return [row]
