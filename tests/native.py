"""For test programs that run real ones against each other: cases, free ports, servers that are ended again.

Each case runs once on each backend. Everything is started on free ports, as an unprivileged user where
possible, and ended by its process id.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SCALE = int(os.environ.get("ROTA_TEST_SCALE", "1"))
LIMIT = 20 * SCALE
CASES = []
WORDS = []


class Skipped(Exception):
    pass


def case(function):
    CASES.append(function)
    return function


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "check failed")


def wait_until(condition, what):
    deadline = time.monotonic() + LIMIT
    while not condition():
        check(time.monotonic() < deadline, what)
        time.sleep(0.01)


def tool(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not found:
        raise Skipped(f"there is no {name}")
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_refused(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


def read_all(s):
    data = bytearray()
    while piece := s.recv(65536):
        data += piece
    return bytes(data)


def unprivileged():
    """And in a directory that such a user may enter; HAProxy wants to come back to where it began."""
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    return {"cwd": DIRECTORY, **user}


def run(*command):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT * 3, check=False)
    check(done.returncode == 0, command[0], "exited with", done.returncode, done.stdout[-2000:])
    return done.stdout


def new_directory():
    directory = tempfile.TemporaryDirectory(prefix="rota-test-")
    if os.geteuid() == 0:
        shutil.chown(directory.name, "nobody", "nogroup")
    return directory


@contextlib.contextmanager
def temporary_directory():
    with new_directory() as name:
        yield Path(name)


OF_THE_PROGRAM = new_directory()
DIRECTORY = Path(OF_THE_PROGRAM.name)  # removed when the program ends


def make_certificate():
    """A self-signed certificate for localhost, in DIRECTORY."""
    run(tool("openssl"), "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-days", "2",
        "-out", DIRECTORY / "cert.pem", "-keyout", DIRECTORY / "key.pem")
    (DIRECTORY / "key.pem").chmod(0o644)


def programs(count):
    """What is tested, the first arguments: copies, because the unprivileged user may have no way into the source
    tree. The other arguments are words."""
    WORDS.extend(sys.argv[1 + count:])
    return [shutil.copy(program, DIRECTORY) for program in sys.argv[1:1 + count]]


@contextlib.contextmanager
def server(command, *ports):
    """Runs a server until the block ends; it is ready once it takes connections at each of its ports."""
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, **unprivileged())
    try:
        deadline = time.monotonic() + LIMIT
        while True:
            if process.poll() is not None:
                raise AssertionError(f"{command[0]} ended: {process.stderr.read().decode()}")
            if not any(map(is_refused, ports)):
                break
            check(time.monotonic() < deadline, command[0], "takes no connections")
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT)


NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    {options}
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


@contextlib.contextmanager
def nginx(directory, root, options=""):
    """Its port. It serves the files in `root` and has its own in `directory`."""
    config, port = directory / "nginx.conf", free_port()
    config.write_text(NGINX.format(directory=directory, root=root, port=port, options=options))
    with server([tool("nginx"), "-e", "stderr", "-p", directory, "-c", config], port):
        yield port


class Program:
    """A program that runs, for a limited time, until the `with` block ends; and the lines that it prints."""

    def __init__(self, *command, seconds=2 * LIMIT, errors=subprocess.STDOUT, **popen):
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=errors, text=True, **popen)
        self.watchdog = threading.Timer(seconds, self.process.kill)
        self.watchdog.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        self.process.kill()
        self.process.communicate()

    def line(self):
        return self.process.stdout.readline()

    def announced(self):
        """The port that it announces in its next line."""
        return int(self.line().split()[1])


def run_case(function, backend):
    os.environ["ROTA_BACKEND"] = backend
    name = f"{function.__name__}[{backend}]"
    try:
        function()
        return "passed"
    except Skipped as reason:
        print(f"SKIP {name}: {reason}", flush=True)
        return "skipped"
    except Exception as e:
        print(f"FAIL {name}: {type(e).__name__}: {e}", flush=True)
        return "failed"


def run_cases():
    """Runs those whose names contain one of the words, or all, and ends the program."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for function in CASES:
        for backend in ("epoll", "uring"):
            if not WORDS or any(w in f"{function.__name__}[{backend}]" for w in WORDS):
                counts[run_case(function, backend)] += 1
    print(f"# {Path(sys.argv[0]).stem}: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    sys.exit(counts["failed"] > 0)
