"""http_target.c for tests: the server that they attack, and how it is doing."""

import contextlib
import json
import re
import signal
import socket
import struct
import subprocess

from http_wire import parse_replies, request
from native import LIMIT, check, unprivileged, wait_until

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Peer:
    program = ""  # its path, set by the test

    def __init__(self, *options):
        self.process = subprocess.Popen([self.program, *map(str, options)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **unprivileged())
        line = self.process.stdout.readline()
        check(line.startswith("port "), "it did not start:", line)
        self.port = int(line.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, failure, *_):
        """It ends in order, which is when sanitizers complain."""
        self.process.send_signal(signal.SIGTERM)
        try:
            output, errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            output, errors = self.process.communicate()
        if not failure:
            check(self.process.returncode == 0, "the server exited with", self.process.returncode, output, errors)

    def connect(self):
        return connect(self.port)

    def ask(self, target="/", method="GET"):
        """A request of another client, on its own connection; returns the body."""
        with self.connect() as s:
            s.sendall(request(method, target, b"Connection: close\r\n"))
            replies = parse_replies(read_until_end(s), [method])
            check(len(replies) == 1 and replies[0].status == 200, target, "was not served:", replies)
            return replies[0].body

    def stats(self):
        return json.loads(self.ask("/stats"))

    def wait_for(self, **wanted):
        try:
            wait_until(lambda: wanted.items() <= self.stats().items(), f"not {wanted}")
        except AssertionError as e:
            raise AssertionError(f"{e} but {self.stats()}\n{self.ask('/tasks').decode()}") from e

    def memory(self, which="VmHWM"):
        """In MiB: what it has taken at most, or takes now (VmRSS)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(rf"{which}:\s+(\d+) kB", status.read())[1]) / 1024


def connect(port, receives=None):
    """With `receives`, the kernel takes little more than so many bytes that are not read."""
    s = socket.socket()
    s.settimeout(LIMIT)
    if receives:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    s.connect(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    s.close()


def read_until_end(s):
    """All that comes; a reset is an end, too."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := s.recv(65536):
            data += piece
    return bytes(data)
