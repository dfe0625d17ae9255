"""The row of the proxy: wrk in front of it, nginx behind."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from measure import (LOAD_CORE, SERVER_CORE, Failed, Process, cpu_ns, free_port, run,
                     wait_for_port)
from row import Program, Row, Target

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {directory};
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
        directory = Path(name)
        directory.chmod(0o755)
        if os.geteuid() == 0:
            shutil.chown(directory, "nobody", "nogroup")
        target, listen = free_port(), free_port()
        (directory / "page.html").write_text("<p>rota</p>\n" * 341)  # 4 KB
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, port=target))
        (directory / "haproxy.conf").write_text(HAPROXY.format(port=listen, target=target))

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
            "HAProxy": Program([sbin("haproxy"), "-db", "-q", "-f", directory / "haproxy.conf"],
                               needs="haproxy", unprivileged=True),
        }
        nginx = [sbin("nginx"), "-e", "stderr", "-p", directory, "-c", directory / "nginx.conf"]
        with Process(nginx, LOAD_CORE, stderr=subprocess.DEVNULL, **unprivileged()):
            wait_for_port(target)
            bench.fill(row, programs, once)
    return [row]
