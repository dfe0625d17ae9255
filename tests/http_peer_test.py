#!/usr/bin/env python3
"""The client's HTTP/2 with other programs' servers: nginx, nghttpd, and scripts that break the rules.

usage: http_peer_test.py HTTP_PEER [WORD...]     cases whose names contain one of the words

See native.py; HTTP_PEER is http_peer.c.
"""

import contextlib
import hashlib
import random
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import native
from native import (DIRECTORY, LIMIT, Skipped, case, check, free_port, make_certificate, programs, read_all, run_cases,
                    server, tool)

FILES = 20
BIG = 3000000
UPLOAD = b"".join(bytes([ord("a") + i % 23]) for i in range(23))


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def uploaded(size):
    return (UPLOAD * (size // 23 + 1))[:size]


# ---- Servers

NGINX = """
    client_max_body_size 10m;
    {settings}
    server {{
        listen 127.0.0.1:{port} {how};
        ssl_certificate {directory}/cert.pem;
        ssl_certificate_key {directory}/key.pem;
        root {directory}/site;
        location /back/ {{
            proxy_pass http://127.0.0.1:{back};
            proxy_http_version 1.1;
            proxy_buffering off;
        }}
        location /small/ {{ client_max_body_size 1k; proxy_pass http://127.0.0.1:{back}; }}
    }}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
frontend h1
    bind 127.0.0.1:{ports[0]}
    default_backend back
frontend h2
    bind 127.0.0.1:{ports[1]} proto h2
    default_backend back
backend back
    server back 127.0.0.1:{back}
"""


@contextlib.contextmanager
def nginx(settings="", secure=True, back=1):
    port = free_port()
    options = NGINX.format(directory=DIRECTORY, port=port, settings=settings, back=back,
                           how="ssl http2" if secure else "http2")
    with native.nginx(DIRECTORY, DIRECTORY / "site", options):
        yield f"{'https' if secure else 'http'}://localhost:{port}"


@contextlib.contextmanager
def nghttpd(*options, secure=True):
    port = free_port()
    how = [DIRECTORY / "key.pem", DIRECTORY / "cert.pem"] if secure else ["--no-tls"]
    place = [port, *how] if secure else [*how, port]
    with server([tool("nghttpd"), "--address=127.0.0.1", "--htdocs", DIRECTORY / "site", *options, *place], port):
        yield f"{'https' if secure else 'http'}://localhost:{port}"


class Back(BaseHTTPRequestHandler):
    """Behind nginx: answers with the checksum of what it got; breaks off; or keeps quiet until it is told."""

    protocol_version = "HTTP/1.1"
    quiet = threading.Event()

    def log_message(self, *_):
        pass

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if "/quiet" in self.path:
            self.quiet.wait(LIMIT)
        if "/broken" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)
            self.close_connection = True
            return
        self.answer(self.path.encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else b""
        if "/quiet" in self.path:
            self.quiet.wait(LIMIT)
        self.answer(sha256(body).encode())


class Answerer(urllib.request.HTTPDigestAuthHandler):
    """urllib's client, which knows neither SHA-256 nor another's cnonce by itself."""

    def __init__(self, said):
        super().__init__()
        self.said = said
        self.add_password(said["realm"], "http://localhost/", "me", "a:b c")
        self.nonce_count, self.last_nonce = int(said["nc"], 16) - 1, said["nonce"]

    def get_cnonce(self, nonce):
        return self.said["cnonce"]

    def get_algorithm_impls(self, algorithm):
        kind = {"MD5": "md5", "SHA-256": "sha256"}[algorithm]

        def h(text):
            return hashlib.new(kind, text.encode()).hexdigest()

        return h, lambda secret, data: h(f"{secret}:{data}")


class Guard(BaseHTTPRequestHandler):
    """Lets in who answers its challenges as urllib would. A nonce is stale after five requests."""

    protocol_version = "HTTP/1.1"
    algorithm = "SHA-256"
    nonces = {}

    def log_message(self, *_):
        pass

    def judge(self):
        """Whether the answer is right, and whether only its nonce is wrong."""
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Digest":
            return False, False
        said = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
        request = urllib.request.Request(f"http://localhost{self.path}", method=self.command)
        challenge = {"realm": said["realm"], "nonce": said["nonce"], "qop": "auth", "algorithm": self.algorithm}
        wanted = urllib.request.parse_keqv_list(urllib.request.parse_http_list(
            Answerer(said).get_authorization(request, challenge)))
        if any(said[name] != wanted[name] for name in ("username", "uri", "response", "nc")):
            return False, False
        uses = self.nonces.get(said["nonce"], 5)
        self.nonces[said["nonce"]] = uses + 1
        return uses < 5, uses >= 5

    def do_GET(self):
        is_right, is_stale = self.judge()
        body = b"in" if is_right else b"out"
        self.send_response(200 if is_right else 401)
        if not is_right:
            nonce = f"nonce{len(self.nonces)}"
            self.nonces[nonce] = 0
            self.send_header("WWW-Authenticate", 'Basic realm="no"')
            self.send_header("WWW-Authenticate", f'Digest realm="a, b", nonce="{nonce}", opaque="x=y", qop="auth", '
                             f'algorithm={self.algorithm}{", stale=true" if is_stale else ""}')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class BackServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass


@contextlib.contextmanager
def backend():
    Back.quiet = threading.Event()
    with BackServer(("127.0.0.1", 0), Back) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield httpd.server_address[1]
        finally:
            Back.quiet.set()
            httpd.shutdown()
            thread.join()


def repeat(s):
    """Answers a chunked request with its own body, while it comes."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(65536)
    head, _, data = head.partition(b"\r\n\r\n")
    s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    end = b""
    while True:
        s.sendall(data)
        end = (end + data)[-7:]
        if end == b"\r\n0\r\n\r\n":
            return
        data = s.recv(65536)
        if not data:
            return


@contextlib.contextmanager
def repeater():
    """Behind HAProxy; the URLs of its two sides, of HTTP/1.1 and HTTP/2."""
    config, ports = DIRECTORY / "haproxy.conf", (free_port(), free_port())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    with listener.accept()[0] as s, contextlib.suppress(OSError):
                        repeat(s)

        config.write_text(HAPROXY.format(ports=ports, back=listener.getsockname()[1]))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with server([tool("haproxy"), "-db", "-q", "-f", config], ports[0]):
                yield [f"http://localhost:{port}" for port in ports]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def unread(port):
    """The bytes that wait at both ends of the connections to a port of ours: at the server's, and at the client's."""
    server = client = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        waiting = int(queues.split(":")[1], 16)
        server += waiting if local.endswith(f":{port:04X}") else 0
        client += waiting if remote.endswith(f":{port:04X}") else 0
    return server, client


class Unread(threading.Thread):
    """Watches those bytes. `stuck` are they when they have stayed the same for five seconds."""

    def __init__(self, port):
        super().__init__()
        self.port, self.done, self.stuck = port, threading.Event(), None
        self.start()

    def run(self):
        last, since = None, time.monotonic()
        while not self.done.wait(0.2):
            now, waiting = time.monotonic(), unread(self.port)
            if waiting == (0, 0):   # also when a connection is gone
                continue
            if waiting != last:
                last, since, self.stuck = waiting, now, None
            elif now - since >= 5:
                self.stuck = waiting

    def stop(self):
        self.done.set()
        self.join()


@contextlib.contextmanager
def unless_it_stops_reading(port):
    """HAProxy 3.0 now and then stops reading within the window that it has announced, and nothing can go on. What waits
    tells that from a fault of ours: always the same at its end, and nothing at ours."""
    watched = Unread(port)
    try:
        yield
    except subprocess.TimeoutExpired:
        if watched.stuck and watched.stuck[0] > 0 and watched.stuck[1] == 0:
            raise Skipped(f"HAProxy stopped reading, with {watched.stuck[0]} bytes at its socket") from None
        raise
    finally:
        watched.stop()


class Wire:
    """A way to a server that can be cut."""

    def __init__(self, target):
        self.target = target
        self.pairs = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                ours = self.listener.accept()[0]
                theirs = socket.create_connection(("127.0.0.1", self.target))
                self.pairs.append((ours, theirs))
                for source, sink in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def cut(self, rudely):
        """Ends what is there; new connections are carried again."""
        pairs, self.pairs = self.pairs, []
        for ours, theirs in pairs:
            if rudely:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):
                ours.shutdown(socket.SHUT_RD if rudely else socket.SHUT_RDWR)  # which wakes its thread
            if rudely:
                ours.close()
            with contextlib.suppress(OSError):
                theirs.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut(False)


def prepare():
    random_bytes = random.Random(1)
    make_certificate()
    site = DIRECTORY / "site"
    site.mkdir()
    for number in range(FILES):
        (site / f"file{number}").write_bytes(random_bytes.randbytes(number * 1000))
    (site / "big").write_bytes(random_bytes.randbytes(BIG))


def contents(name):
    return (DIRECTORY / "site" / name).read_bytes()


# ---- Our side

def peer_command(*arguments):
    return [PEER, "--ca", str(DIRECTORY / "cert.pem"), *map(str, arguments)]


class Answers:
    def __init__(self, text):
        *lines, last = text.splitlines()
        check(last.startswith("connections: "), text)
        self.connections = int(last.split()[1])
        self.failed = [line for line in lines if " failed: " in line]
        self.good = [line.split(" ") for line in lines if " failed: " not in line and line != "under way"]

    def check_all(self, count, url=None, data=None, version="HTTP/2"):
        check(not self.failed, *self.failed[:3])
        mine = [words for words in self.good if url is None or words[0] == url]
        check(len(mine) == count, len(mine), "answers instead of", count)
        for words in mine:
            check(words[1:3] == ["200", version], words)
            if data is not None:
                check(words[3:5] == [str(len(data)), sha256(data)], "another body:", words)


def ask(*arguments):
    done = subprocess.run(peer_command(*arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    check(done.returncode == 0, arguments, "exited with", done.returncode, done.stdout[-1000:], done.stderr)
    return Answers(done.stdout)


def directly(secure):
    return [] if secure else ["--directly"]


# ---- Cases

def for_each_server(function, settings="", options=()):
    for secure in (True, False):
        with nginx(settings, secure) as url:
            function(url, directly(secure))
        with nghttpd(*options, secure=secure) as url:
            function(url, directly(secure))


@case
def many_requests_at_once_share_one_connection():
    def check_server(url, how):
        answers = ask(*how, "--times", 10, *(f"{url}/file{n}" for n in range(FILES)))
        for n in range(FILES):
            answers.check_all(10, f"{url}/file{n}", contents(f"file{n}"))
        check(answers.connections == 1, answers.connections, "connections")
    for_each_server(check_server)


@case
def answers_larger_than_the_windows_wait_for_slow_readers_who_hold_up_nobody_else():
    def check_server(url, how):
        answers = ask(*how, "--times", 4, f"{url}/big+slow", "--times", 20, f"{url}/file19")
        answers.check_all(4, f"{url}/big", contents("big"))
        answers.check_all(20, f"{url}/file19", contents("file19"))
        check([a[0] for a in answers.good[:20]] == [f"{url}/file19"] * 20, "the slow ones held up the others")
        check(answers.connections == 1, answers.connections, "connections")
    for_each_server(check_server)


@case
def uploads_larger_than_the_windows_go_on_as_they_are_read():
    with nghttpd("--echo-upload") as url:
        answers = ask("--upload", BIG, "--times", 4, f"{url}/echo+post", f"{url}/echo+stream", f"{url}/file19")
        answers.check_all(8, f"{url}/echo", uploaded(BIG))
        answers.check_all(4, f"{url}/file19", contents("file19"))
    with backend() as back, nginx(back=back) as url:
        answers = ask("--upload", BIG, "--times", 4, f"{url}/back/x+post")
        answers.check_all(4, f"{url}/back/x", sha256(uploaded(BIG)).encode())


@case
def much_comes_back_while_it_is_sent():
    size = 60 << 20
    for secure in (True, False):
        with nghttpd("--echo-upload", secure=secure) as url:
            answers = ask(*directly(secure), "--upload", size, f"{url}/echo+post", f"{url}/echo+stream")
            answers.check_all(2, f"{url}/echo", uploaded(size))
    with repeater() as urls:
        for url, version in zip(urls, ("HTTP/1.1", "HTTP/2")):
            with unless_it_stops_reading(int(url.split(":")[-1])):
                answers = ask(*directly(version == "HTTP/1.1"), "--upload", size, f"{url}/+stream")
                answers.check_all(1, data=uploaded(size), version=version)


@case
def requests_beyond_what_the_server_takes_at_once_are_served_in_order():
    for limit in (1, 2):
        def check_server(url, how, limit=limit):
            urls = [f"{url}/file{n}" for n in range(FILES)]
            answers = ask(*how, *urls)
            answers.check_all(FILES)
            check(answers.connections == 1, answers.connections, "connections")
            if limit == 1:
                check([a[0] for a in answers.good] == urls, "another order")
        for_each_server(check_server, f"http2_max_concurrent_streams {limit};", [f"--max-concurrent-streams={limit}"])


@case
def a_server_that_moves_on_is_followed():
    with nginx("keepalive_requests 50;") as url:
        for how in ("", "+post"):
            answers = ask("--upload", 0, "--times", 300, f"{url}/file3{how}")
            check(not answers.failed, *answers.failed[:3])
            check(len(answers.good) == 300, len(answers.good), "answers")
            check(all(a[1] == ("405" if how else "200") for a in answers.good), answers.good[0])
            check(6 <= answers.connections <= 10, answers.connections, "connections")


@case
def what_the_server_breaks_off_ends_alone():
    with backend() as back, nginx(back=back) as url:
        answers = ask("--upload", BIG, "--times", 3, f"{url}/back/broken", f"{url}/file19", f"{url}/small/x+post",
                      f"{url}/small/x+stream")
        check(len(answers.failed) == 3, *answers.failed)
        check(all("the server broke it off" in line for line in answers.failed), *answers.failed)
        check(sorted(a[1] for a in answers.good) == ["200"] * 3 + ["413"] * 6, answers.good)
        check(answers.connections == 1, answers.connections, "connections")


@case
def fields_behind_a_body_are_read():
    with nghttpd("--trailer", "x-sum: 42") as url:
        answers = ask("--trailer", "X-Sum", "--times", 5, f"{url}/file5")
        answers.check_all(5, data=contents("file5"))
        check(all(a[5] == "42" for a in answers.good), answers.good[0])


@case
def padding_early_answers_and_missing_lengths_are_no_trouble():
    for options in (["--padding=255"], ["--no-content-length"], ["--early-response"], ["--window-bits=10"],
                    ["--header-table-size=0", "--encoder-header-table-size=0"]):
        with nghttpd(*options) as url:
            # The first one waits for the settings: what is sent before may be more than they allow.
            answers = ask("--upload", 500000, "--first", f"{url}/file1", "--times", 5, f"{url}/big", f"{url}/file0",
                          f"{url}/file7+post")
            answers.check_all(5, f"{url}/big", contents("big"))
            answers.check_all(5, f"{url}/file0", b"")
            answers.check_all(5, f"{url}/file7", contents("file7"))
            check(answers.connections == 1, answers.connections, "connections")


def lose(rudely):
    with backend() as back, nginx(back=back) as url, Wire(int(url.split(":")[-1])) as wire:
        there = f"https://localhost:{wire.port}"
        with subprocess.Popen(peer_command("--upload", 1000000, "--first", f"{there}/file1", "--times", 3,
                                           f"{there}/back/quiet", f"{there}/back/quiet/1+post", f"{there}/big+held"),
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            watchdog = threading.Timer(LIMIT, process.kill)
            watchdog.start()
            try:
                lines = []
                while not lines or lines[-1] not in ("under way\n", ""):
                    lines.append(process.stdout.readline())
                check(lines[-1] == "under way\n", *lines)
                wire.cut(rudely)
                Back.quiet.set()
                lines.append(process.communicate("\n")[0])
            finally:
                watchdog.cancel()
                process.kill()
        answers = Answers("".join(lines))
        good = sorted(a[0].removeprefix(there) for a in answers.good)
        return good, sorted(line.removeprefix(there) for line in answers.failed), answers.connections


@case
def of_a_lost_connection_only_what_may_be_repeated_is_asked_again():
    for rudely in (False, True):
        good, failed, connections = lose(rudely)
        check(good == ["/back/quiet"] * 3 + ["/file1"], good, failed)
        check(len(failed) == 6 and all("the connection was lost" in line for line in failed), *failed)
        check([line.split()[0] for line in failed] == ["/back/quiet/1"] * 3 + ["/big"] * 3, *failed)
        check(connections == 2, connections, "connections")


# ---- Scripts

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = 0, 1, 3, 4, 5, 6, 7
END_STREAM, END_HEADERS = 1, 4
OK = b"\x88"  # :status: 200


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def read_exactly(s, size):
    data = b""
    while len(data) < size:
        piece = s.recv(size - len(data))
        check(piece, "the client has gone")
        data += piece
    return data


def read_frame(s):
    head = read_exactly(s, 9)
    payload = read_exactly(s, int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:9], "big"), payload


def play(script, *arguments, how=""):
    """Runs script(socket, ids of the streams asked for) on each connection, once there are `--times` requests."""
    expected = int(arguments[arguments.index("--times") + 1]) if "--times" in arguments else 1
    failures = []

    def talk(s):
        read_exactly(s, 24)
        s.sendall(frame(SETTINGS, 0, 0))
        ids = []
        while len(ids) < expected:
            kind, _, stream, _ = read_frame(s)
            if kind == HEADERS:
                ids.append(stream)
        script(s, ids)
        with contextlib.suppress(OSError):  # the client may have gone
            s.shutdown(socket.SHUT_WR)  # closed with something unread, what was said last would be lost
            read_all(s)

    def serve(listener):
        with contextlib.suppress(OSError):
            while True:
                s = listener.accept()[0]
                s.settimeout(LIMIT)
                try:
                    with s:
                        talk(s)
                except Exception as e:
                    failures.append(repr(e))

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve, args=(listener,))
    thread.start()
    try:
        answers = ask("--directly", *arguments, f"http://127.0.0.1:{listener.getsockname()[1]}/{how}")
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()
    check(not failures, *failures)
    return answers


def read_goaway(s):
    while True:
        kind, _, _, payload = read_frame(s)
        if kind == GOAWAY:
            return int.from_bytes(payload[4:8], "big")


@case
def what_is_pushed_is_refused():
    with nghttpd("--push=/file1=/file2,/file3") as url:
        answers = ask("--times", 10, f"{url}/file1")
        answers.check_all(10, data=contents("file1"))

    def push(s, ids):
        promise = struct.pack(">I", 2) + b"\x82\x86\x84\x41\x01x"
        s.sendall(frame(PUSH_PROMISE, END_HEADERS, ids[0], promise))
        check(read_goaway(s) == 1, "another error")
    answers = play(push)
    check("the server pushes" in answers.failed[0], *answers.failed)
    check(not answers.good and len(answers.failed) == 1, answers.good, *answers.failed)


@case
def after_goaway_what_the_server_works_on_is_answered_and_the_rest_asked_again():
    turns = []

    def leave(s, ids):
        turns.append(len(ids))
        if len(turns) == 1:
            s.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", ids[1], 0)))
            s.sendall(frame(HEADERS, END_HEADERS, ids[0], OK) + frame(DATA, END_STREAM, ids[0], b"one"))
            s.sendall(frame(HEADERS, END_HEADERS, ids[1], OK) + frame(DATA, 0, ids[1], b"tw"))
            return
        s.sendall(b"".join(frame(HEADERS, END_HEADERS, i, OK) + frame(DATA, END_STREAM, i, b"again") for i in ids))
        read_goaway(s)
    answers = play(leave, "--times", 2)
    check([a[3] for a in answers.good] == ["3"], answers.good)
    check(len(answers.failed) == 1 and "the connection was lost" in answers.failed[0], *answers.failed)


@case
def an_answer_before_the_connection_ends_counts_though_the_upload_could_not_be_sent():
    def refuse(s, ids):
        s.sendall(frame(HEADERS, END_HEADERS, ids[0], b"\x8d") + frame(DATA, END_STREAM, ids[0], b"no"))  # 404
        s.sendall(frame(RST_STREAM, 0, ids[0], struct.pack(">I", 0)))
    answers = play(refuse, "--upload", BIG, how="+post")
    check(not answers.failed and answers.good[0][1] == "404", answers.good, *answers.failed)


# ---- Digest

@case
def digest_is_answered_as_urllib_would():
    for algorithm in ("MD5", "SHA-256"):
        Guard.algorithm, Guard.nonces = algorithm, {}
        with BackServer(("127.0.0.1", 0), Guard) as httpd:
            thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            place = f"localhost:{httpd.server_address[1]}/a?b=c"
            try:
                url = f"http://me:a%3Ab%20c@{place}"
                answers = ask("--digest", "--first", "--times", 12, url)
                answers.check_all(12, url, b"in", version="HTTP/1.1")
                answers = ask("--digest", f"http://me:wrong@{place}")
                check(answers.good[0][1] == "401", answers.good, *answers.failed)
            finally:
                httpd.shutdown()
                thread.join()


# ---- HTTP/1.1 over TLS

@case
def without_a_length_only_an_end_that_TLS_vouches_for_ends_a_body():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DIRECTORY / "cert.pem", DIRECTORY / "key.pem")

    def talk(listener, vouch):
        with listener.accept()[0] as s, context.wrap_socket(s, server_side=True) as tls:
            while b"\r\n\r\n" not in tls.recv(65536):
                pass
            tls.sendall(b"HTTP/1.1 200 OK\r\n\r\nhalf")
            if vouch:
                with contextlib.suppress(OSError):
                    tls.unwrap()

    for vouch in (True, False):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(LIMIT)
            thread = threading.Thread(target=talk, args=(listener, vouch))
            thread.start()
            answers = ask(f"https://localhost:{listener.getsockname()[1]}/")
            thread.join()
        if vouch:
            check(answers.good[0][1:4] == ["200", "HTTP/1.1", "4"], answers.good, *answers.failed)
        else:
            check(len(answers.failed) == 1 and "cut off" in answers.failed[0], answers.good, *answers.failed)


if __name__ == "__main__":
    [PEER] = programs(1)
    prepare()
    run_cases()
