#!/usr/bin/env python3
"""Attacks on our server as a whole, over real sockets: slow clients, floods, bombs, resets.

usage: http_attack_test.py HTTP_TARGET [WORD...]     cases whose names contain one of the words

Of each the same is asked: it takes a bounded amount of memory, the attacker is cut off, others are served meanwhile,
and nothing of it is left afterwards. See native.py.
"""

import base64
import contextlib
import gzip
import itertools
import os
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib

import http_wire as wire
from http_target import Peer, connect, read_until_end, reset
from native import (DIRECTORY, LIMIT, SCALE, case, check, make_certificate, programs, run_cases, tool, unprivileged,
                    wait_until)

Peer.program, = programs(1)
MEBIBYTE = 1 << 20
SHORT = ["--head-time", 1, "--body-gap", 1, "--write-stall", 1, "--idle", 1]
SETTINGS = wire.PREFACE + wire.frame(wire.SETTINGS)


class Others:
    """Another client, which asks for something again and again until the block ends, and does not wait long for it. What
    the attack took of memory, in MiB, is looked at, too, and that nothing is left of it."""

    def __init__(self, peer, memory=16):
        self.peer, self.most = peer, memory
        self.longest, self.count, self.wrong, self.over = 0, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        try:
            while not self.over.is_set():
                start = time.monotonic()
                self.peer.ask(f"/others-{self.count}")
                self.longest = max(self.longest, time.monotonic() - start)
                self.count += 1
                self.over.wait(0.005)
        except Exception as e:  # told by the main thread
            self.wrong = e

    def __enter__(self):
        self.peer.ask()
        self.before = self.peer.memory("VmRSS")
        self.thread.start()
        return self

    def __exit__(self, failure, *_):
        self.over.set()
        self.thread.join(LIMIT)
        if failure:
            return
        check(not self.wrong and self.count, "another client:", self.wrong)
        check(self.longest < LIMIT / 4, "another client waited for", self.longest)
        self.peer.wait_for(open=1, running=1, alive=1)
        taken = self.peer.memory() - self.before
        check(taken < self.most or SCALE > 1, "took", taken, "MiB")


# ---- Slow ones

def slowhttptest(peer, *arguments):
    return subprocess.Popen([tool("slowhttptest"), "-c", "100", "-r", "200", "-p", str(LIMIT), "-l", str(LIMIT),
                             *map(str, arguments[:-1]), "-u", f"http://127.0.0.1:{peer.port}{arguments[-1]}"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            **unprivileged())


@case
def slow_heads_bodies_and_ranges_end_and_hold_up_nobody():
    tool("slowhttptest")
    with Peer(*SHORT, "--root", DIRECTORY) as peer, Others(peer):
        tests = [slowhttptest(peer, "-H", "-i", 3, "/"), slowhttptest(peer, "-B", "-i", 3, "/"),
                 slowhttptest(peer, "-R", "-t", "GET", "/files/file")]
        for test in tests:
            output, _ = test.communicate(timeout=2 * LIMIT)
            check("No open connections left" in output and "service available:   NO" not in output, output)


@case
def slow_readers_are_cut_off_and_hold_up_nobody():
    tool("slowhttptest")
    with Peer(*SHORT) as peer, Others(peer, memory=32):
        test = slowhttptest(peer, "-X", "-k", 3, "-w", 10, "-y", 20, "/big")
        try:
            wait_until(lambda: peer.stats()["alive"] > 50, "nobody reads slowly")
            peer.wait_for(alive=1)  # it does not see that itself, because it reads slowly
            check(test.poll() is None, "it has ended before")
        finally:
            test.terminate()
            test.communicate()


@case
def requests_whose_replies_nobody_reads_do_not_pile_up():
    with Peer(*SHORT) as peer, Others(peer), contextlib.ExitStack() as stack:
        greedy = [stack.enter_context(peer.connect()) for _ in range(5)]
        for s in greedy:
            s.setblocking(False)
        deadline = time.monotonic() + LIMIT
        many = wire.request("GET", "/a") * 1000
        while greedy:
            check(time.monotonic() < deadline, len(greedy), "are not cut off")
            for s in select.select([], greedy, [], 0.1)[1]:
                try:
                    s.send(many)
                except ConnectionError:
                    greedy.remove(s)


@case
def silent_connections_give_way_to_others():
    with Peer("--connections", 20, "--idle", 0.3) as peer, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(peer.connect())
        check(peer.ask("/a") == b"GET /a 0\n")


# ---- Floods of HTTP/2

def send_flood(s, pieces, reads=True):
    """Sends until the pieces are over or the server ends it; returns all that came."""
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            s.sendall(piece)
            while reads and select.select([s], [], [], 0)[0]:
                more = s.recv(65536)
                if not more:
                    return bytes(received)
                received += more
    return bytes(received) + read_until_end(s)


def is_calmed(peer, begin, pieces):
    with peer.connect() as s:
        received = send_flood(s, itertools.chain([SETTINGS + begin], pieces))
    check(wire.last_words(received) == wire.ENHANCE_YOUR_CALM, "not calmed but", wire.last_words(received), received[-200:])


IDLE_FRAMES = [
    wire.frame(wire.PING, 0, 0, b"anything"), wire.frame(wire.PING, wire.ACK, 0, b"anything"), wire.frame(wire.SETTINGS),
    wire.frame(wire.SETTINGS, 0, 0, wire.setting(4, 65535)), wire.frame(wire.SETTINGS, 0, 0, wire.setting(1, 4096) * 100),
    wire.frame(wire.PRIORITY, 0, 1, struct.pack(">IB", 0, 16)), wire.frame(wire.PRIORITY, 0, 7, struct.pack(">IB", 0, 16)),
    wire.window(0, 1), wire.window(1, 1), wire.frame(wire.DATA, 0, 1), wire.frame(wire.DATA, wire.PADDED, 1, b"\xff" + bytes(255)),
    wire.frame(99, 0, 0, b"unknown"),
]


@case
def frames_that_move_nothing_on_end_the_connection():
    with Peer() as peer, Others(peer):
        for piece in IDLE_FRAMES:
            is_calmed(peer, wire.open_stream(1, "/a", "POST", flags=0), itertools.repeat(piece * 100, 1000))


@case
def answers_that_nobody_reads_do_not_pile_up():
    def batches():  # a request explains a few pings
        for i in range(1, 1_000_000, 100):
            yield b"".join(wire.open_stream(k, "/a", "HEAD") + ping * 3 for k in range(i, i + 100, 2))
    ping = wire.frame(wire.PING, 0, 0, b"anything")
    with Peer(*SHORT) as peer, Others(peer), connect(peer.port, receives=4096) as s:
        s.sendall(SETTINGS)
        with contextlib.suppress(ConnectionError):
            for batch in batches():
                s.sendall(batch)
            check(False, "nobody ends it")


def resetting(how):
    """Streams that are opened and reset again, by what `how` makes of the stream's number."""
    for i in range(1, 20_000, 2):
        yield wire.open_stream(i, "/slow", "POST", flags=0) + how(i)


RESETS = {
    "by the client": lambda i: wire.frame(wire.RST_STREAM, 0, i, wire.code(8)),
    "by a window of 0": lambda i: wire.window(i, 0),
    "by a window too large": lambda i: wire.window(i, 0x7fffffff),
    "by trailers that do not end": lambda i: wire.frame(wire.HEADERS, wire.END_HEADERS, i, wire.literal("x", "y")),
    "by being too many": lambda i: b"",
    "by trailers that are none":
        lambda i: wire.frame(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, i, wire.literal(":path", "/")),
}


@case
def streams_that_are_reset_at_once_end_the_connection():
    with Peer() as peer, Others(peer, memory=24):
        for how, make in RESETS.items():
            with peer.connect() as s:
                received = send_flood(s, itertools.chain([SETTINGS], resetting(make)))
            # What must end the connection at once, by the RFC, does so.
            check(wire.last_words(received) in (wire.ENHANCE_YOUR_CALM, wire.PROTOCOL_ERROR), how, received[-200:])
            peer.wait_for(alive=1)
        stats = peer.stats()
        check(stats["began"] == stats["cancelled"] and stats["most"] <= 202, stats)


@case
def endless_heads_end_the_connection():
    with Peer() as peer, Others(peer):
        begin = wire.frame(wire.HEADERS, 0, 1, wire.head("/a"))
        for payload in (b"", wire.literal("x", "y"), wire.literal("x", "y" * 16000)):
            is_calmed(peer, begin, itertools.repeat(wire.frame(wire.CONTINUATION, 0, 1, payload), 100_000))


@case
def bombs_of_hpack_end_the_connection():
    bomb = wire.head("/a") + wire.literal("cookie", "x" * 4000, 0x40) + b"\xbe" * 16000
    more = b"\xbe" * 16000
    with Peer() as peer, Others(peer):
        def pieces():
            for i in range(3, 20_000, 2):
                yield wire.frame(wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, i, wire.head("/a") + more[:12000])
        is_calmed(peer, wire.frame(wire.HEADERS, wire.END_STREAM | wire.END_HEADERS, 1, bomb[:16000]), pieces())


@case
def streams_without_a_window_are_given_up():
    closed = wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, wire.setting(4, 0))
    with Peer(*SHORT) as peer, Others(peer, memory=24), contextlib.ExitStack() as stack:
        for _ in range(5):
            s = stack.enter_context(peer.connect())
            s.sendall(closed + b"".join(wire.open_stream(i, "/big") for i in range(1, 200, 2)))
        wait_until(lambda: peer.stats()["alive"] > 400, "they were not begun")
        peer.wait_for(alive=1)


@case
def open_windows_of_who_does_not_read_take_no_memory():
    opened = wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, wire.setting(4, 0x7fffffff)) + wire.window(0, 0x7fff0000 - 65535)
    with Peer(*SHORT) as peer, Others(peer), contextlib.ExitStack() as stack:
        for _ in range(3):
            s = stack.enter_context(connect(peer.port, receives=4096))
            s.sendall(opened + b"".join(wire.open_stream(i, "/big") for i in range(1, 200, 2)))
        wait_until(lambda: peer.stats()["alive"] > 200, "they were not begun")
        peer.wait_for(alive=1)


@case
def a_window_that_opens_by_a_byte_keeps_nothing_alive():
    closed = wire.PREFACE + wire.frame(wire.SETTINGS, 0, 0, wire.setting(4, 0))
    with Peer(*SHORT) as peer, Others(peer), peer.connect() as stream, peer.connect() as whole:
        stream.sendall(closed + wire.open_stream(1, "/big"))
        whole.sendall(SETTINGS + b"".join(wire.open_stream(i, "/big") for i in range(1, 20, 2)))
        over = threading.Event()

        def drip():
            with contextlib.suppress(ConnectionError):
                while not over.wait(0.1):
                    stream.sendall(wire.window(1, 1))
                    whole.sendall(wire.window(0, 1))
        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        try:
            wait_until(lambda: peer.stats()["alive"] > 10, "they were not begun")
            wait_until(lambda: peer.stats()["alive"] <= 2, "they go on")
        finally:
            over.set()
            thread.join()


@case
def bodies_that_nobody_reads_are_stopped_by_their_windows():
    piece = b"".join(wire.frame(wire.DATA, 0, i, bytes(16384)) for i in range(1, 100, 2))
    with Peer(*SHORT) as peer, Others(peer), contextlib.ExitStack() as stack:
        for _ in range(5):
            s = stack.enter_context(peer.connect())
            s.sendall(SETTINGS + b"".join(wire.open_stream(i, "/slow", "POST", flags=0) for i in range(1, 100, 2)))
            send_flood(s, itertools.repeat(piece, 1000))


# ---- Bombs

def handshake(peer, extension="permessage-deflate"):
    s = peer.connect()
    key = base64.b64encode(os.urandom(16)).decode()
    fields = (f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
              f"Sec-WebSocket-Extensions: {extension}\r\n")
    s.sendall(wire.request("GET", "/ws", fields.encode()))
    data = b""
    while b"\r\n\r\n" not in data:
        data += s.recv(1)
    check(data.startswith(b"HTTP/1.1 101 "), data)
    return s


def message(first, payload=b"", length=None):
    """A frame of a WebSocket, masked with zeros."""
    length = len(payload) if length is None else length
    if length < 126:
        return struct.pack(">BB", first, 0x80 | length) + bytes(4) + payload
    if length < 65536:
        return struct.pack(">BBH", first, 0xfe, length) + bytes(4) + payload
    return struct.pack(">BBQ", first, 0xff, length) + bytes(4) + payload


def close_code(data):
    """What the last frame, a close, says."""
    at = data.rfind(b"\x88")
    check(at >= 0, "no close:", data[-100:])
    return struct.unpack(">H", data[at + 2:at + 4])[0]


@case
def bombs_of_websockets_are_stopped_at_the_limit():
    def deflated(size):
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        return deflate.compress(bytes(size)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    bomb = deflated(64 * MEBIBYTE)
    endless = itertools.chain([message(1, b"x")], itertools.repeat(message(0, b"y") * 100, 10000))
    empty = itertools.chain([message(1)], itertools.repeat(message(0) * 100, 10000))
    floods = {
        "a bomb": ([message(0xc2, bomb)], 1009),
        "a bomb in pieces": ([message(0 if i else 0x42, bomb[i:i + 1000]) for i in range(0, len(bomb), 1000)], 1009),
        "a huge length": ([message(0x82, b"x", 1 << 62)], 1009),
        "endless pieces": (endless, 1008),
        "endless empty pieces": (empty, 1008),
    }
    with Peer() as peer, Others(peer):
        for what, (pieces, code) in floods.items():
            with handshake(peer) as s:
                received = send_flood(s, pieces)
            check(close_code(received) == code, what, "was ended with", close_code(received))


@case
def websockets_whose_clients_do_not_read_are_cut_off():
    floods = [message(0x89, bytes(100)) * 1000, message(0x82, bytes(60000))]
    with Peer(*SHORT) as peer, Others(peer), contextlib.ExitStack() as stack:
        clients = {stack.enter_context(handshake(peer, extension="none")): floods[i % 2] for i in range(6)}
        for s in clients:
            s.setblocking(False)
        # A ping whose pong cannot be sent is forgotten, so those go on for as long as they like.
        deadline = time.monotonic() + LIMIT
        while floods[1] in clients.values():
            check(time.monotonic() < deadline, "messages that cannot be sent back are not a stall")
            for s in select.select([], clients, [], 0.1)[1]:
                try:
                    s.send(clients[s])
                except ConnectionError:
                    del clients[s]
        for s in clients:
            reset(s)


@case
def compressed_bodies_are_not_unpacked():
    bomb = gzip.compress(bytes(64 * MEBIBYTE), 1)
    with Peer() as peer, Others(peer), peer.connect() as s:
        s.sendall(wire.request("POST", "/a", b"Content-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n" % len(bomb),
                               bomb))
        reply, = wire.parse_replies(read_until_end(s))
        check(reply.body == b"POST /a %d\n" % len(bomb), reply)


# ---- Resets

def phases():
    """What a client has sent, and waits for, when it resets the connection."""
    length = b"Content-Length: 10\r\n"
    chunked = wire.request("POST", "/a", b"Transfer-Encoding: chunked\r\n")
    stream = SETTINGS + wire.open_stream(1, "/slow")
    return {
        "at once": (b"", b""),
        "in a head": (b"GET / HTTP/1.1\r\nHo", b""),
        "between head and body": (wire.request("POST", "/a", length), b""),
        "in a body": (wire.request("POST", "/a", length, b"hello"), b""),
        "in a chunk": (chunked + b"a\r\nhello", b""),
        "asked for the body": (wire.request("POST", "/a", length + b"Expect: 100-continue\r\n"), b"HTTP/1.1 100"),
        "while the handler runs": (wire.request("GET", "/slow"), b""),
        "with more behind that": (wire.request("GET", "/slow") + wire.request("GET", "/a"), b""),
        "in a reply": (wire.request("GET", "/big"), b"HTTP/1.1 200"),
        "between requests": (wire.request("GET", "/a"), b"HTTP/1.1 200"),
        "while it is refused": (b"GET  / HTTP/1.1\r\n", b"HTTP/1.1 400"),
        "in the preface": (wire.PREFACE[:20], b""),
        "in a frame": (SETTINGS[:-3], b""),
        "while a stream runs": (stream, b"\0\0"),
        "in a stream's reply": (SETTINGS + wire.open_stream(1, "/big"), b"\0\0"),
        "in a stream's body": (SETTINGS + wire.open_stream(1, "/a", "POST", flags=0) + wire.frame(wire.DATA, 0, 1, b"x"), b"\0\0"),
        "in a stream's head": (SETTINGS + wire.frame(wire.HEADERS, 0, 1, wire.head("/a")[:9]), b"\0\0"),
    }


def descriptors(peer):
    return len(os.listdir(f"/proc/{peer.process.pid}/fd"))


def is_over(peer, before):
    peer.wait_for(open=1, running=1, alive=1)
    wait_until(lambda: descriptors(peer) <= before, "descriptors are left open")
    stats = peer.stats()
    check(stats["began"] == stats["cancelled"], "a handler was not cancelled:", stats)


@case
def resets_in_every_phase_leave_nothing():
    with Peer() as peer, Others(peer):
        peer.ask()
        before = descriptors(peer) + 1  # that of Others
        for what, (sent, awaited) in phases().items():
            clients = [peer.connect() for _ in range(10)]
            for s in clients:
                s.sendall(sent)
            for s in clients:
                got = s.recv(len(awaited), socket.MSG_WAITALL) if awaited else b""
                check(got == awaited, what, got)
            for s in clients:
                reset(s)
        is_over(peer, before + 1)
        check(peer.stats()["began"] > 10, "nothing was running")


@case
def resets_of_websockets_and_tls_leave_nothing():
    with Peer("--cert", DIRECTORY / "cert.pem", "--key", DIRECTORY / "key.pem") as peer:
        trusting = ssl.create_default_context(cafile=DIRECTORY / "cert.pem")
        before = descriptors(peer)
        for sent in (b"", b"\x16\x03\x01\x02\x00\x01", wire.request("GET", "/")):
            for _ in range(10):
                s = peer.connect()
                s.sendall(sent)
                reset(s)
        for sent in (b"", wire.request("GET", "/slow"), wire.request("GET", "/big")):
            for _ in range(10):
                s = trusting.wrap_socket(peer.connect(), server_hostname="localhost")
                s.sendall(sent)
                reset(s)
        wait_until(lambda: descriptors(peer) <= before, "descriptors are left open")
    with Peer() as peer:
        peer.ask()
        before = descriptors(peer)
        for sent in (b"", message(0x82, b"x", 10), message(0x02, b"x"), message(0x89, b"x"), message(0xc2, b"\xff")):
            for _ in range(10):
                s = handshake(peer)
                s.sendall(sent)
                reset(s)
        is_over(peer, before + 1)


(DIRECTORY / "file").write_bytes(os.urandom(MEBIBYTE))
make_certificate()
run_cases()
