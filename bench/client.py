"""The rows of the HTTP client: nginx answers."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from measure import LOAD_CORE, SERVER_CORE, Process, free_port, run, wait_for_port
from nginx import nginx, sbin, unprivileged
from row import Row, Target, python


@contextmanager
def hello_page():
    """The URL of a page of 25 bytes."""
    with tempfile.TemporaryDirectory(prefix="rota-bench-") as name:
        directory, port = Path(name), free_port()
        directory.chmod(0o755)
        (directory / "hello").write_text("hello of twenty-five byte")
        directory.chmod(0o777)
        with Process(nginx(directory, port), LOAD_CORE, **unprivileged()):
            wait_for_port(port)
            yield f"http://127.0.0.1:{port}/hello"


def http_client(bench):
    requests, tasks = 20000, 32
    row = Row("HTTP client, keep-alive GET from nginx, 32 at once, CPU per request", "us",
              [Target(1.15, "raw epoll"), Target(0.1, "aiohttp, uvloop")], limit="raw epoll")
    if not shutil.which(sbin("nginx")):
        row.missing = {"all of it": "needs nginx-light"}
        return [row]

    def once(program):
        cpu, _ = map(int, run(program.argv, SERVER_CORE, program.env).split())
        return cpu / int(program.argv[-2]) / 1000

    with hello_page() as url:
        bench.fill(row, {
            **bench.rota("http_client_rota", url, requests, tasks),
            "raw epoll": bench.program("raw_http_client", url, requests, tasks),
            "aiohttp, uvloop": python("http_client_aiohttp.py", url, requests // 4, tasks,
                                      module="aiohttp, uvloop"),
        }, once)
    return [row]
