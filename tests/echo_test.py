#!/usr/bin/env python3
"""The example echo server as its users run it: on one loop, in threads, in processes; stopped by signals.

usage: echo_test.py ECHO [WORD...]     cases whose names contain one of the words

See native.py.
"""

import contextlib
import os
import signal
import socket
import subprocess

from native import LIMIT, case, check, is_refused, programs, run_cases, wait_until

ECHO, = programs(1)
WAYS = {"loop": [], "threads": ["--workers", "2"], "processes": ["--processes", "2"]}


@contextlib.contextmanager
def started(way):
    """The server and its port; one process group, to be sent what a terminal sends."""
    process = subprocess.Popen([ECHO, *WAYS[way], "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process, int(process.stdout.readline().split()[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def say(s, text):
    s.sendall(text)
    got = b""
    while len(got) < len(text):
        got += s.recv(len(text) - len(got)) or check(False, "the connection was cut")
    check(got == text, got)


def stops(way, name, kill, number):
    """Makes a case of a server that is stopped: it answers clients that are connected."""
    def stopped():
        with started(way) as (process, port), socket.create_connection(("localhost", port), LIMIT) as s:
            say(s, b"before")
            kill(process.pid, number)
            wait_until(lambda: is_refused(port), "it still listens")
            say(s, b"after")
            s.shutdown(socket.SHUT_WR)
            check(s.recv(1) == b"")
            status = process.wait(LIMIT)
            check(status == 0, "status", status, process.stderr.read())
    stopped.__name__ = f"{name}_stops_{way}"
    case(stopped)


for each in WAYS:
    stops(each, "sigint", os.kill, signal.SIGINT)
    stops(each, "sigterm", os.kill, signal.SIGTERM)
    stops(each, "ctrl_c", os.killpg, signal.SIGINT)


@case
def killed_worker_is_replaced():
    with started("processes") as (process, port):
        path = f"/proc/{process.pid}/task/{process.pid}/children"

        def workers():
            with open(path, encoding="ascii") as file:
                return {int(pid) for pid in file.read().split()}

        wait_until(lambda: len(workers()) == 2, "they are not started")
        before = workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(workers() - before) >= len(before), "they are not replaced")
        wait_until(lambda: not is_refused(port), "nobody listens")
        process.terminate()
        status = process.wait(LIMIT)
        check(status == 0, "status", status, process.stderr.read())


if __name__ == "__main__":
    run_cases()
