#!/usr/bin/env python3
"""Our server behind nginx and HAProxy, and alone: nobody gets a request past them that one of both does not see.

usage: http_front_test.py HTTP_TARGET [WORD...]     cases whose names contain one of the words

The front gives each request that it sees an X-Front field: a name of its own, and what it takes for method and target.
Our server writes down what it got of that, and what it saw itself, and says the name in its reply; so does the front. Where
both disagree about where a request ends, they saw different ones, or one more, or somebody gets another's reply. See
native.py.
"""

import contextlib
import random
import re
import resource
import selectors
import socket
import subprocess
import threading
import time

import http_wire as wire
from http_target import Peer, connect, read_until_end
from native import LIMIT, case, check, free_port, programs, run_cases, server, temporary_directory, tool

Peer.program, = programs(1)
NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log crit;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_header_timeout 1s;
    client_body_timeout 1s;
    keepalive_timeout 1s;
    lingering_timeout 1s;
    ignore_invalid_headers off;
    underscores_in_headers on;
    upstream peer {{ server 127.0.0.1:{peer} max_fails=0; keepalive 2; }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Front "$request_id $request_method $request_uri";
    proxy_next_upstream off;
    proxy_ignore_client_abort on;
    add_header X-Front $request_id always;
    server {{ listen 127.0.0.1:{ports[0]}; location / {{ proxy_pass http://peer; }} }}
    server {{ listen 127.0.0.1:{ports[1]}; location / {{ proxy_pass http://peer; proxy_request_buffering off; }} }}
    server {{ listen 127.0.0.1:{ports[2]} http2; location / {{ proxy_pass http://peer; }} }}
}}
"""
HAPROXY = """
global
    maxconn 1500
defaults
    mode http
    timeout connect 5s
    timeout client 1s
    timeout http-request 1s
    timeout http-keep-alive 1s
    timeout server 10s
    http-reuse always
    unique-id-format %[uuid()]
frontend strict
    bind 127.0.0.1:{ports[0]}
    {marks}
    default_backend h1
frontend lax
    bind 127.0.0.1:{ports[1]}
    option accept-invalid-http-request
    {marks}
    default_backend h1
frontend h2
    bind 127.0.0.1:{ports[2]} proto h2
    {marks}
    default_backend h1
frontend towards_h2
    bind 127.0.0.1:{ports[3]}
    {marks}
    default_backend h2
backend h1
    server peer 127.0.0.1:{peer}
backend h2
    # 2.6 resets streams that it has not opened yet, which has to end the connection, and so must not be somebody else's.
    http-reuse never
    server peer 127.0.0.1:{peer} proto h2
"""
MARKS = """http-request set-header X-Front "%[unique-id] %[method] %[url]"
    http-response set-header X-Front %[unique-id]"""
SECOND = wire.request("GET", "/second")
SMUGGLED = wire.request("GET", "/smuggled", b"X-Front: stolen\r\n")


# ---- What is sent

class Refusal:
    def __init__(self, line):
        self.rfc, expected, data = line.split("\t")
        self.status = int(re.search(r"!(\d+)", expected)[1])
        self.bytes = bytes.fromhex(data)

    def __repr__(self):
        return f"RFC {self.rfc}: {self.bytes!r}"


def refusals():
    """The table of refusals.h."""
    table = subprocess.run([Peer.program, "--table"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [Refusal(line) for line in table.splitlines()]
    check(len(found) > 90, "the table has only", len(found))
    return found


# Ways to write a transfer coding that some read and others do not.
CODINGS = [b"Transfer-Encoding: chunked", b"Transfer-Encoding:chunked", b"transfer-encoding:\tCHUNKED ",
           b"Transfer-Encoding : chunked", b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding: \x0cchunked",
           b" Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
           b"Transfer-Encoding\r\n : chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:\n chunked",
           b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x", b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
           b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked, identity",
           b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
           b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked;q=1", b'Transfer-Encoding: "chunked"',
           b"Transfer-Encoding: chunked\0", b"Transfer-Encoding: chun\0ked", b"Transfer-Encoding\0: chunked",
           b"Transfer_Encoding: chunked", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,",
           b"Transfer-Encoding: \xa0chunked", b"Transfer-Encoding: chunked\x85", b"Transfer-Encoding: ch\xc5\xbfnked",
           b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked", b"\x0bTransfer-Encoding: chunked"]
# Ways to write a length, of which some see another one.
LENGTHS = [b"Content-Length: %d", b"Content-Length: 0\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 0",
           b"Content-Length: %d, %d", b"Content-Length: 0, %d", b"Content-Length: +%d", b"Content-Length: 0%d",
           b"Content-Length : %d", b"Content_Length: %d", b"Content-Length: \x0b%d", b"Content-Length: %d\x0b",
           b"Content-Length:\t%d", b"Content-Length:\r\n %d", b"Content-Length: 0\r\n Content-Length: %d",
           b"X: y\nContent-Length: %d", b"X: y\rContent-Length: %d", b"Content-Length: %d\0", b"Content-Length: 0x%x",
           b"Content-Length: 1844674407370955%d", b"Content-Length: %d\r\nContent-Length : 0", b"Content-Length: \"%d\"",
           b"Connection: Content-Length\r\nContent-Length: %d", b"Content-Length: %d;x", b"Content-Length: %d.0"]
# Bodies in chunks that end in one place for some, and in another for others.
CHUNKS = [b"2;\nxx\r\n%x\r\n", b"2;x\ry\r\nxx\r\n0\r\n\r\n", b"0\n\n", b"0\r\n\n", b"0\n\r\n", b"00\r\n\r\n", b"0;x\n\r\n", b"0_\r\n\r\n",
          b"10000000000000000\r\n\r\n", b"fffffffffffffffff0\r\n", b"-0\r\n\r\n", b"+0\r\n\r\n", b"0x0\r\n\r\n", b" 0\r\n\r\n",
          b"0 \r\n\r\n", b"\r\n0\r\n\r\n", b"2\r\nxx0\r\n\r\n", b"2\r\nxx\n0\r\n\r\n", b"2\r\nxx\r0\r\n\r\n", b"1\r\nxx\r\n0\r\n\r\n",
          b"3\r\nxx\r\n0\r\n\r\n", b"0\r\n", b"0\r\nContent-Length: 70\r\n\r\n", b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
          b"0\r\nX: y\nZ: 1\r\n\r\n", b"0\r\n x: y\r\n\r\n", b"0\r\nx : y\r\n\r\n", b"0;a=\"\r\n\r\n\r\n", b"0\r\n\r\n"]
HANDSHAKE = (b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
UPGRADE_H2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"


def post(fields, body, method="POST"):
    return wire.request(method, "/first", fields + b"\r\n", body) + SECOND


def attacks():
    found = [f.bytes + SECOND for f in refusals()]
    inner = b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    for coding in CODINGS:
        length = b"Content-Length: %d"
        ends_early = b"0\r\n\r\n" + SMUGGLED
        for first, second in ((length, coding), (coding, length)):
            both = first + b"\r\n" + second
            found.append(post(both.replace(b"%d", b"%d" % len(ends_early)), ends_early))  # a length, or chunks
            found.append(post(both.replace(b"%d", b"4"), inner))                          # chunks, or a length
        found.append(post(coding, inner))
    for length in LENGTHS:
        fields = re.sub(b"%[dx]", lambda m: m[0] % len(SMUGGLED), length)
        found += [post(fields, SMUGGLED), post(fields, SMUGGLED, "GET")]
    for chunks in CHUNKS:
        body = chunks.replace(b"%x", b"%x" % len(SMUGGLED)) + SMUGGLED
        found.append(post(b"Transfer-Encoding: chunked", body))
    length = b"Content-Length: %d" % len(SMUGGLED)
    for expect in (b"Expect: 100-continue", b"Expect: y 100-continue", b"Expect:\n100-continue", b"Expect: 200-ok"):
        found += [post(expect + b"\r\n" + length, SMUGGLED, method) for method in ("POST", "GET", "OPTIONS")]
    found += [post(length, SMUGGLED, method) for method in ("HEAD", "DELETE", "OPTIONS", "PUT", "GET")]
    found += [data.replace(b"HTTP/1.1", b"HTTP/1.0", 1) for data in (post(length, SMUGGLED), post(CODINGS[0], inner))]
    found += [wire.request("GET", "/ws", upgrade) + SMUGGLED.replace(b"X-Front: stolen\r\n", b"")
              for upgrade in (HANDSHAKE, UPGRADE_H2, HANDSHAKE + length + b"\r\n")]
    found.append(wire.PREFACE + wire.frame(wire.SETTINGS) + wire.open_stream(1, "/smuggled", "GET", ("x-front", "stolen")))
    return found


def h2_attacks():
    """Requests of HTTP/2 that a careless front makes two of, or one with another end."""
    line = "x\r\n\r\n" + SMUGGLED.decode()
    fields = [("x", line), ("x", "y\r\nTransfer-Encoding: chunked"), ("x", "y\nContent-Length: 0"), ("x", "y\0"), ("x", "y\r"),
              ("x\r\ny", "z"), ("x: y\r\nz", "1"), ("x:", "y"), ("X", "y"), ("x y", "z"), ("", "x"), (":x", "y"),
              ("transfer-encoding", "chunked"), ("transfer-encoding ", "chunked"), ("connection", "x"),
              ("connection", "content-length"), ("upgrade", "websocket"), ("proxy-connection", "x"), ("te", "chunked"),
              ("content-length", "0"), ("content-length", "1000"), ("content-length", "+5"), ("content-length", "5, 5"),
              ("content-length", "5x"), ("content-length", ""), ("content-length", "18446744073709551621"),
              ("host", "b"), ("host", "a\r\nx: y"), (":path", "/second"), (":method", "GET"), ("expect", "100-continue")]
    body = SMUGGLED
    heads = [wire.head("/first", "POST", field) for field in fields]
    heads += [wire.head("/first", "POST", ("content-length", str(len(body))), ("content-length", "0"))]
    heads += [wire.head(path, "POST") for path in ("/first HTTP/1.1\r\nx: y", "/first HTTP/1.1\r\n\r\n" + SMUGGLED.decode(),
                                                   "/first x", "", "first", "/a\tb", "/\0", None)]
    heads += [wire.head("/first", method) for method in ("POST / HTTP/1.1\r\nx: y\r\n\r\n", "PO ST", "", "POST\0", None)]
    heads += [wire.head("/first", "POST", authority=name) for name in ("a\r\nx: y", "a b", "a/b", "a,b", "u@a")]
    heads += [wire.head("/first", "POST", scheme=name) for name in ("http\r\nx: y", "http://x/smuggled?", "")]
    heads += [wire.head(None, "CONNECT", authority="a:1", scheme=None), wire.literal("x", "y") + wire.head("/first", "POST")]
    found = []
    for block in heads:
        found.append([(wire.HEADERS, wire.END_HEADERS, block), (wire.DATA, wire.END_STREAM, body)])
        found.append([(wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, block)])
    for trailer in (("content-length", "0"), ("transfer-encoding", "chunked"), (":path", "/smuggled"), ("x", line), ("x\ny", "")):
        found.append([(wire.HEADERS, wire.END_HEADERS, wire.head("/first", "POST")), (wire.DATA, 0, body),
                      (wire.HEADERS, wire.END_HEADERS | wire.END_STREAM, wire.literal(*trailer))])
    return [wire.PREFACE + wire.frame(wire.SETTINGS) + b"".join(wire.frame(kind, flags, 1, data) for kind, flags, data in frames)
            + wire.open_stream(3, "/second") for frames in found]


# ---- Sending it

def send_all(messages):
    """Sends each, (port, bytes), on a connection of its own, all at once; returns what came until they were ended."""
    replies = [bytearray() for _ in messages]
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as stack:
        for index, (port, data) in enumerate(messages):
            s = stack.enter_context(connect(port))
            s.sendall(data)
            waiting.register(s, selectors.EVENT_READ, index)
        deadline = time.monotonic() + LIMIT
        while waiting.get_map():
            check(time.monotonic() < deadline, "nothing ends", [messages[k.data] for k in waiting.get_map().values()])
            for key, _ in waiting.select(1):
                try:
                    piece = key.fileobj.recv(65536)
                except ConnectionError:
                    piece = b""
                replies[key.data] += piece
                if not piece:
                    waiting.unregister(key.fileobj)
    return [bytes(reply) for reply in replies]


def is_own(reply):
    """Whether the request that we replied to was the one that the front gives the reply to."""
    return reply.fields.get("x-seen", "").split(" ")[0] in ("", reply.fields.get("x-front"))


class Victims:
    """Other clients, which send requests by the same fronts until the block ends, and get their own replies.

    A front may choose a connection to our server that is just being closed. Then it closes the client's, too, which is to
    send the request again (RFC 9112, 9.3.1). Such requests are in `dropped`: our server must not have seen them.
    """

    def __init__(self, ports):
        self.served, self.wrong, self.over = 0, None, threading.Event()
        self.dropped = set()
        self.threads = [threading.Thread(target=self.run, args=(port,), daemon=True) for port in ports]

    def run(self, port):
        try:
            while not self.over.is_set():
                self.ask(port, f"/victim-{port}-{self.served}")
        except Exception as e:  # told by the main thread
            self.wrong = e

    def ask(self, port, prefix):
        with connect(port) as s:
            for i in range(5):
                target = f"{prefix}-{i}"
                last = b"Connection: close\r\n" if i == 4 else b""
                s.sendall(wire.request("POST", target, b"Content-Length: 2\r\n" + last, b"hi"))
                data = b"" if not last else read_until_end(s)
                if not data and last or not last and not s.recv(1, socket.MSG_PEEK):
                    check(i > 0, target, "was dropped on a new connection")
                    self.dropped.add(target)
                    return
                while not data.endswith(b"\n"):
                    piece = s.recv(65536)
                    check(piece, target, "was cut off after", data, i)
                    data += piece
                reply, = wire.parse_replies(data)
                check(reply.status == 200 and reply.body == f"POST {target} 2\n".encode(), target, "got", reply)
                check(is_own(reply), target, "got another's", reply)
                self.served += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, failure, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(LIMIT)
        if not failure:
            check(not self.wrong, "a victim:", self.wrong)
            check(self.served > 20, "victims were served", self.served, "times")


def check_replies(message, data):
    if message.startswith(wire.PREFACE):  # HAProxy speaks HTTP/2 then
        return
    if b"HTTP/" not in message.split(b"\r\n")[0] and not data.startswith(b"HTTP/"):
        return  # to HTTP/0.9 nginx replies with a body only
    for reply in wire.parse_replies(data, [message.split()[0].decode("latin-1"), "GET", "GET"]):
        check(is_own(reply), message, "was replied to with", reply)


def check_seen(path, dropped):
    """What our server saw as a request, was that same request for the front, and was so once."""
    names = set()
    for line in path.read_text().splitlines():
        words = line.split(" ")
        check(len(words) == 5 and words[0] not in names, "seen behind the front:", line)
        name, front_method, front_target, method, target = words
        check(re.fullmatch(r"[0-9a-f]{32}|[0-9a-f-]{36}", name) and method == front_method, "seen behind the front:", line)
        check(target == front_target or not front_target.startswith("/"), "seen behind the front:", line)
        names.add(name)
        check(front_target not in dropped, "seen, but dropped by the front:", line)
    check(names, "nothing was seen")


@contextlib.contextmanager
def fronts(name, command, configuration, count):
    """A front with `count` ports; yields them and a set for requests that it dropped. Then looks at what our server saw."""
    dropped = set()
    with temporary_directory() as directory:
        with Peer("--seen", directory / "seen") as peer:
            ports = [free_port() for _ in range(count)]
            (directory / "conf").write_text(configuration.format(directory=directory, ports=ports, peer=peer.port, marks=MARKS))
            with server([tool(name), *(str(word).format(directory=directory) for word in command)], *ports):
                yield ports, dropped
        check_seen(directory / "seen", dropped)


def attack(ports, h2_port, dropped):
    messages = [(port, message) for port in ports for message in attacks()]
    frames = [(h2_port, message) for message in h2_attacks()]
    with Victims(ports) as victims:
        replies = send_all(messages + frames)
    dropped |= victims.dropped
    for (_, message), reply in zip(messages, replies):
        check_replies(message, reply)
    for (_, message), reply in zip(frames, replies[len(messages):]):
        check(wire.cut_frames(reply), "no frames in return for", message, reply)


@case
def nginx_and_we_agree_where_requests_end():
    with fronts("nginx", ["-e", "stderr", "-p", "{directory}", "-c", "{directory}/conf"], NGINX, 3) as (ports, dropped):
        attack(ports[:2], ports[2], dropped)


@case
def haproxy_and_we_agree_where_requests_end():
    with fronts("haproxy", ["-db", "-q", "-f", "{directory}/conf"], HAPROXY, 4) as (ports, dropped):
        attack([ports[0], ports[1], ports[3]], ports[2], dropped)


# ---- Without a front

def send_split(s, data, source):
    while data:
        at = source.randrange(1, 40)
        with contextlib.suppress(ConnectionError):  # refused before all of it was there
            s.sendall(data[:at])
        data = data[at:]


@case
def what_could_be_understood_differently_is_refused():
    source = random.Random(3)
    with temporary_directory() as directory:
        with Peer("--seen", directory / "seen") as peer:
            for f in refusals():
                with peer.connect() as s:
                    send_split(s, f.bytes + SECOND, source)
                    replies = wire.parse_replies(read_until_end(s))
                check(len(replies) == 1 and replies[0].status == f.status, f, "was replied to with", replies)
                check(replies[0].fields.get("connection") == "close", f, "keeps the connection")
        check("/second" not in (directory / "seen").read_text(), "what followed a refused request was served")


@case
def malformed_requests_of_http2_reach_no_handler():
    with temporary_directory() as directory:
        with Peer("--idle", 1, "--seen", directory / "seen") as peer:
            messages = [(peer.port, message) for message in h2_attacks()]
            for message, reply in zip(messages, send_all(messages)):
                check(wire.cut_frames(reply), "no frames in return for", message, reply)
        for line in (directory / "seen").read_text().splitlines():
            check("/smuggled" not in line and "stolen" not in line, "seen:", line)


# There are more connections at once than a process often has descriptors.
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
run_cases()
