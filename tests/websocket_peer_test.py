"""WebSockets with other programs: our server with Python's websockets and Node's ws.

usage: websocket_peer_test.py WEBSOCKET_PEER [WORD...]     cases whose names contain one of the words

See native.py; WEBSOCKET_PEER is websocket_peer.c.
"""

import asyncio
import os
import ssl
import struct
import subprocess
from pathlib import Path

from native import (DIRECTORY, LIMIT, Program, Skipped, case, check, make_certificate, programs, run_cases, tool,
                    unprivileged)

try:
    import websockets
    from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
    from websockets.legacy.client import connect   # the interface that Debian 12's and Debian 13's version both have
except ImportError:
    websockets = None

PEER, = programs(1)
MEBIBYTE = 1 << 20
TEXT, BINARY, CLOSE, PING = 0x81, 0x82, 0x88, 0x89
DEFLATED = 0x40
NOT_LAST = -0x80


# ---- Our side

class Server(Program):
    """websocket_peer."""

    def __init__(self, *options, tls=False):
        self.is_tls = tls
        if tls:
            options += "--cert", DIRECTORY / "cert.pem", "--key", DIRECTORY / "key.pem"
        super().__init__(PEER, *options, **unprivileged())
        self.port = self.announced()

    def expect(self, beginning):
        line = self.line()
        check(line.startswith(beginning), "no", repr(beginning), "in", repr(line))

    @property
    def url(self):
        return f"{'wss' if self.is_tls else 'ws'}://localhost:{self.port}/"

    def connect(self, **options):
        if not websockets:
            raise Skipped("there is no python3-websockets")
        trusting = ssl.create_default_context(cafile=DIRECTORY / "cert.pem") if self.is_tls else None
        return connect(self.url, host="127.0.0.1", ssl=trusting, open_timeout=LIMIT, close_timeout=LIMIT,
                                  ping_interval=None, max_size=None, **options)


def talk(*options):
    """Makes a case of a coroutine that talks to a server with these options: in the clear, then over TLS."""
    def decorate(function):
        def both():
            for tls in (False, True):
                with Server(*options, tls=tls) as server:
                    asyncio.run(asyncio.wait_for(function(server), LIMIT))
        both.__name__ = function.__name__
        return case(both)
    return decorate


# ---- The other side

def frame(first, payload=b"", *, masked=True, length=None):
    """A frame, right or wrong; the mask is of zeroes, which change nothing."""
    length = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if length < 126:
        head = struct.pack(">BB", first, bit | length)
    elif length < 65536:
        head = struct.pack(">BBH", first, bit | 126, length)
    else:
        head = struct.pack(">BBQ", first, bit | 127, length)
    return head + (bytes(4) if masked else b"") + payload


async def echoes(ws, message):
    await ws.send(message)
    check(await ws.recv() == message, "not what was sent:", repr(message)[:100])


async def is_told(server, ws, code):
    """That the server refused what it got: with this code, in order for the peer."""
    await ws.wait_closed()
    check(ws.close_code == code, "told", ws.close_code, ws.close_reason, "instead of", code)
    server.expect(f"cut {code} ")


@talk()
async def messages_of_all_sizes_come_back_compressed_or_not(server):
    for compression in (None, "deflate"):
        async with server.connect(compression=compression) as ws:
            check(bool(ws.extensions) == bool(compression), ws.extensions)
            for size in (0, 1, 125, 126, 65535, 65536, MEBIBYTE):
                await echoes(ws, os.urandom(size))
                await echoes(ws, ("rota " * size)[:size])
            await echoes(ws, "Grüße, 世界 🌍")
        server.expect("closed 1000")


@talk()
async def fragments_come_back_whole_with_pings_between_them(server):
    for compression in (None, "deflate"):
        async with server.connect(compression=compression) as ws:
            async def pieces(ws=ws):
                for piece in "Gr", "üß", "", "e" * 70000:
                    yield piece
                    await (await ws.ping(b"between"))
            await ws.send(pieces())
            check(await ws.recv() == "Grüß" + "e" * 70000)
            await ws.send([b"\xff", b"\x00" * 1000])
            check(await ws.recv() == b"\xff" + b"\x00" * 1000)


@talk()
async def windows_of_all_sizes_are_agreed_on(server):
    text = "".join(f"line {i} of a text that repeats itself\n" for i in range(2000))
    for bits in range(9, 16):
        for forgets in (False, True):
            terms = ClientPerMessageDeflateFactory(
                server_no_context_takeover=forgets, client_no_context_takeover=forgets,
                server_max_window_bits=bits, client_max_window_bits=bits) if websockets else None
            async with server.connect(compression=None, extensions=[terms]) as ws:
                check(ws.extensions, "nothing was agreed on with", bits, "bits")
                for _ in range(3):
                    await echoes(ws, text)


@talk()
async def pings_are_answered_while_messages_come_and_go(server):
    async with server.connect() as ws:
        pongs = []
        for number in range(50):
            pongs.append(await ws.ping(struct.pack(">I", number)))
            await ws.send("x" * 10000)
        for _ in range(50):
            await ws.recv()
        await asyncio.gather(*pongs)


@talk("--ping", "0.02")
async def who_is_silent_is_asked_for_a_sign_of_life(server):
    async with server.connect() as ws:
        asked, answer = asyncio.Semaphore(0), ws.pong

        async def pong(data=b""):
            asked.release()
            await answer(data)
        ws.pong = pong
        for _ in range(5):
            await asked.acquire()
        await echoes(ws, "still here")
    server.expect("closed 1000")


@talk("--ping", "0.02", "--pong", "0.1")
async def who_gives_no_sign_of_life_is_dropped(server):
    async with server.connect() as ws:
        ws.transport.pause_reading()
        await asyncio.get_running_loop().run_in_executor(None, server.expect, "cut 1008 ")
        ws.transport.resume_reading()
        await ws.wait_closed()
        check(ws.close_code == 1008, ws.close_code)


@talk()
async def both_sides_close_with_codes_and_reasons(server):
    for code, reason in (1000, ""), (1001, "going"), (3000, "für immer"), (4999, "x" * 123):
        async with server.connect() as ws:
            await ws.close(code, reason)
            check(ws.close_code == code, ws.close_code)
        server.expect(f"closed {code} {reason}\n")
    async with server.connect() as ws:
        await ws.send("leave!")
        await ws.wait_closed()
        check((ws.close_code, ws.close_reason) == (4321, "as you wish"), ws.close_code, ws.close_reason)
    server.expect("closed 4321")
    async with server.connect() as ws:
        ws.transport.write(frame(CLOSE))
        await ws.wait_closed()
        check(ws.close_code == 1005, ws.close_code)
    server.expect("closed 1005 \n")


BROKEN = [
    (1002, frame(TEXT, b"not masked", masked=False)),
    (1002, frame(PING, b"nor this", masked=False)),
    (1002, frame(TEXT | DEFLATED, b"nothing was agreed on")),
    (1002, frame(TEXT | 0x20, b"reserved")),
    (1002, frame(TEXT | 0x10, b"reserved")),
    (1002, frame(0x83, b"no such frame")),
    (1002, frame(0x8b, b"no such frame")),
    (1002, frame(0x80, b"of what?")),
    (1002, frame(TEXT + NOT_LAST, b"one") + frame(TEXT, b"another")),
    (1002, frame(PING + NOT_LAST, b"a piece")),
    (1002, frame(PING, bytes(126))),
    (1002, frame(CLOSE, b"\x03")),
    (1002, frame(CLOSE, struct.pack(">H", 1005))),
    (1002, frame(CLOSE, struct.pack(">H", 999))),
    (1002, b"\x82\xff" + b"\xff" * 8 + bytes(4)),
    (1007, frame(TEXT, b"\xff")),
    (1007, frame(TEXT, "ü".encode()[:1])),
    (1007, frame(TEXT, b"\xed\xa0\x80 surrogate")),
    (1007, frame(TEXT + NOT_LAST, b"one \xc3") + frame(0x80, b"two")),
    (1007, frame(CLOSE, struct.pack(">H", 1000) + b"\xff")),
]


@talk()
async def what_breaks_the_protocol_is_refused_with_its_code(server):
    for code, broken in BROKEN:
        async with server.connect(compression=None) as ws:
            ws.transport.write(broken)
            await is_told(server, ws, code)
    for broken in frame(TEXT | DEFLATED, b"\xff" * 20), frame(TEXT + NOT_LAST) + frame(0x80 | DEFLATED, b"x"):
        async with server.connect() as ws:
            ws.transport.write(broken)
            await ws.wait_closed()
            check(ws.close_code in (1002, 1007), ws.close_code)
        server.expect("cut 100")


@talk("--message", "1000", "--fragments", "10")
async def what_is_too_large_is_refused_by_1009_and_nothing_of_it_kept(server):
    for compression in (None, "deflate"):
        async with server.connect(compression=compression) as ws:
            await echoes(ws, "x" * 1000)
            await ws.send("x" * 1001)
            await is_told(server, ws, 1009)
        async with server.connect(compression=compression, write_limit=1 << 26) as ws:
            await ws.send(bytes(10 * MEBIBYTE))
            await is_told(server, ws, 1009)
        async with server.connect(compression=compression) as ws:
            ws.transport.write(frame(BINARY, length=1 << 62))
            await is_told(server, ws, 1009)
        async with server.connect(compression=compression) as ws:
            await ws.send(["x" * 600, "x" * 401])
            await is_told(server, ws, 1009)
        async with server.connect(compression=compression) as ws:
            await ws.send(["x"] * 9)
            check(await ws.recv() == "x" * 9)
            await ws.send(["x"] * 11)
            await is_told(server, ws, 1008)


@talk()
async def connections_that_just_end_are_cut_off(server):
    for unfinished in b"", frame(TEXT + NOT_LAST, b"one"), frame(TEXT, b"half", length=1000), b"\x81":
        ws = await server.connect()
        await echoes(ws, "hello")
        ws.transport.write(unfinished)
        ws.transport.abort()
        await ws.wait_closed()
        server.expect("cut 1006 ")


@talk()
async def handshakes_agree_on_a_protocol_and_refuse_strangers(server):
    for offered, taken in (["chat", "superchat"], "superchat"), (["chat"], "chat"), (["other"], None), (None, None):
        async with server.connect(subprotocols=offered) as ws:
            check(ws.subprotocol == taken, ws.subprotocol)
            await echoes(ws, "hello")
    scheme = "https" if server.is_tls else "http"
    async with server.connect(origin=f"{scheme}://localhost:{server.port}") as ws:
        await echoes(ws, "a page of ours")
    try:
        async with server.connect(origin=f"{scheme}://elsewhere.example"):
            check(False, "a page of another site was let in")
    except websockets.InvalidStatusCode as e:
        check(e.status_code == 403, e)


@talk()
async def a_hundred_peers_are_served_at_once(server):
    async def visit(number):
        async with server.connect() as ws:
            for i in range(10):
                await echoes(ws, f"{number} says {i} " * 100)
    await asyncio.gather(*(visit(number) for number in range(100)))


@case
def node_talks_to_our_server():
    modules = Path("/usr/share/nodejs")
    if not (modules / "ws").is_dir():
        raise Skipped("there is no node-ws")
    node = tool("node")
    for tls in (False, True):
        with Server("--message", 2 * MEBIBYTE, tls=tls) as server:
            environment = {**os.environ, "NODE_PATH": str(modules), "NODE_EXTRA_CA_CERTS": str(DIRECTORY / "cert.pem")}
            done = subprocess.run([node, Path(__file__).with_name("websocket_peer.js"), server.url], env=environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=2 * LIMIT, check=False)
            check(done.returncode == 0, done.stdout)


if __name__ == "__main__":
    make_certificate()
    run_cases()
