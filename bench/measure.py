"""Processes and clocks: starting pinned programs, reading their CPU time, interleaving rounds."""

import glob
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

SERVER_CORE = 0
LOAD_CORE = 1 if (os.cpu_count() or 1) > 1 else 0


class Failed(Exception):
    """A program did not do its work; the message says which and how."""


def pinned(core, argv):
    return ["taskset", "-c", str(core)] + [str(a) for a in argv]


def progress(text):
    """One line that is overwritten on a terminal, a line each where there is none."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write("\r\033[K" + text[:width])
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()


def progress_done():
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


def cpu_ns(pid):
    """CPU time that the threads of a process have used."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path) as f:
                total += int(f.read().split()[0])
        except FileNotFoundError:
            pass
    return total


class Process:
    """A running program that is ended, by its pid, when the `with` block is left or after two minutes."""

    def __init__(self, argv, core=None, env=None, **popen):
        self.argv = [str(a) for a in argv]
        self.core = core
        self.env = {**os.environ, **(env or {})}
        self.popen = popen

    def __enter__(self):
        argv = self.argv if self.core is None else pinned(self.core, self.argv)
        self.child = subprocess.Popen(argv, env=self.env, text=True, **self.popen)
        self.pid = self.child.pid
        self.limit = threading.Timer(120, self.child.kill)
        self.limit.start()
        return self

    def __exit__(self, *_):
        self.limit.cancel()
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe:
                pipe.close()

    def line(self):
        """The next line that the program prints."""
        text = self.child.stdout.readline()
        if not text:
            raise Failed(f"{' '.join(self.argv)}: ended without an answer")
        return text.strip()


def run(argv, core=None, env=None, timeout=120):
    """Runs a program to its end and returns what it printed."""
    full = [str(a) for a in argv] if core is None else pinned(core, argv)
    done = subprocess.run(full, env={**os.environ, **(env or {})}, text=True, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Failed(f"{' '.join(full)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def wrk(url):
    """Returns how many requests wrk had answered; fails if one of them went wrong."""
    text = run(["wrk", "-t1", "-c50", "-d2s", url], LOAD_CORE)
    if "Socket errors" in text or "Non-2xx" in text:
        raise Failed(f"wrk: {text.strip()}")
    return int(re.search(r"(\d+) requests in", text).group(1))


def interleave(title, programs, rounds, measure):
    """Measures every program once a round, in turn, and returns {name: [figures]}.

    A program that fails is left out of the remaining rounds and its error is kept in its place.
    """
    figures = {name: [] for name in programs}
    errors = {}
    for number in range(rounds):
        for name, program in programs.items():
            if name in errors:
                continue
            progress(f"{title}: round {number + 1} of {rounds}: {name}")
            try:
                figures[name].append(measure(program))
            except (Failed, OSError, subprocess.TimeoutExpired) as error:
                errors[name] = str(error)
    progress_done()
    return {n: f for n, f in figures.items() if n not in errors}, errors


def median(values):
    return statistics.median(values)


def wait_for_port(port, seconds=10):
    """Waits until something listens on a loopback port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise Failed(f"nothing listens on 127.0.0.1:{port}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
