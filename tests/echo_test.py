#!/usr/bin/env python3
"""The example echo server as its users run it: on one loop, in threads, in processes; stopped by signals.

usage: echo_test.py ECHO [WORD...]     cases whose names contain one of the words
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time

SCALE = int(os.environ.get("ROTA_TEST_SCALE", "1"))
LIMIT = 20 * SCALE
WAYS = {"loop": [], "threads": ["--workers", "2"], "processes": ["--processes", "2"]}


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what) or "check failed")


def wait_until(condition, what):
    deadline = time.monotonic() + LIMIT
    while not condition():
        check(time.monotonic() < deadline, what)
        time.sleep(0.01)


def is_refused(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0


@contextlib.contextmanager
def started(echo, way, backend):
    """The server and its port; one process group, to be sent what a terminal sends."""
    process = subprocess.Popen([echo, *WAYS[way], "0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, "ROTA_BACKEND": backend})
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


def stopped_server_answers_who_is_connected(echo, way, backend, number, to_all=False):
    with started(echo, way, backend) as (process, port), socket.create_connection(("localhost", port), LIMIT) as s:
        say(s, b"before")
        (os.killpg if to_all else os.kill)(process.pid, number)
        wait_until(lambda: is_refused(port), "it still listens")
        say(s, b"after")
        s.shutdown(socket.SHUT_WR)
        check(s.recv(1) == b"")
        status = process.wait(LIMIT)
        check(status == 0, "status", status, process.stderr.read())


def killed_worker_is_replaced(echo, way, backend):
    with started(echo, way, backend) as (process, port):
        path = f"/proc/{process.pid}/task/{process.pid}/children"

        def workers():
            with open(path, encoding="ascii") as file:
                return {int(pid) for pid in file.read().split()}

        before = workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(workers() - before) >= len(before), "they are not replaced")
        wait_until(lambda: not is_refused(port), "nobody listens")
        process.terminate()
        check(process.wait(LIMIT) == 0)


def cases(echo):
    for backend in "epoll", "uring":
        for way in WAYS:
            for number in signal.SIGINT, signal.SIGTERM:
                yield (f"{number.name}_stops_{way}[{backend}]",
                       lambda w=way, n=number, b=backend: stopped_server_answers_who_is_connected(echo, w, b, n))
            yield (f"ctrl_c_stops_{way}[{backend}]",
                   lambda w=way, b=backend: stopped_server_answers_who_is_connected(echo, w, b, signal.SIGINT, True))
        yield (f"killed_worker_is_replaced[{backend}]",
               lambda b=backend: killed_worker_is_replaced(echo, "processes", b))


def main():
    words = sys.argv[2:]
    passed = failed = 0
    for name, case in cases(sys.argv[1]):
        if words and not any(word in name for word in words):
            continue
        try:
            case()
            passed += 1
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL {name}: {e!r}")
    print(f"# echo_test: {passed} passed, {failed} failed, 0 skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
