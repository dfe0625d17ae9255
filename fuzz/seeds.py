#!/usr/bin/env python3
"""Writes the seeds of the targets of whole programs into fuzz/corpus/: those that nobody would type.

Run it after a change here, and commit what it writes.
"""

import struct
import zlib
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"

# The marks of peer.h.
SECOND, MINUTE, SHUTDOWN, RESET, NEXT, WAIT, ACCEPT = (b"\xff\xfe" + bytes([letter]) for letter in b"pPsrnwk")


def save(target, name, *parts):
    directory = CORPUS / target
    directory.mkdir(exist_ok=True)
    (directory / name).write_bytes(b"".join(parts))


# ---- HTTP/1.1

def request(line, *fields, body=b""):
    return b"\r\n".join([line + b" HTTP/1.1", b"Host: a", *fields, b"", b""]) + body


def chunks(*pieces, trailers=b""):
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked"
UPGRADE = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
           b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


def ws_frame(opcode, payload, mask=b"abcd", first=0x80):
    size = bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack(">H", len(payload))
    if mask:
        size = bytes([size[0] | 0x80]) + size[1:] + mask
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
    return bytes([first | opcode]) + size + payload


HELLO_DEFLATED = bytes.fromhex("f248cdc9c90700")    # RFC 7692, section 7.2.3.1


# ---- HTTP/2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, ACK = 1, 4, 1
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def head(method, path, *fields):
    pseudo = literal(b":method", method) + b"\x86" + literal(b":path", path) + literal(b":authority", b"a")
    return pseudo + b"".join(literal(*f) for f in fields)


def h2(*frames):
    return PREFACE + frame(SETTINGS, 0, 0) + b"".join(frames) + frame(SETTINGS, ACK, 0)


def seed_server():
    plain, compress, small, slow, little, narrow = (bytes([b]) for b in (0, 1, 2, 4, 8, 16))
    get = request(b"GET /")
    save("server", "pipeline", plain, get, request(b"HEAD /b"), request(b"POST /e", b"Content-Length: 5",
         body=b"hello"),
         request(b"GET /x"), request(b"GET /0"), request(b"GET /f/a.txt", b"Range: bytes=1-3"))
    save("server", "chunks", plain, request(b"POST /s", CHUNKED, body=chunks(b"one", b"two")),
         request(b"POST /e", CHUNKED, body=chunks(b"three", trailers=b"X-T: 4\r\n")))
    save("server", "compressed", compress, request(b"GET /b", b"Accept-Encoding: gzip"),
         request(b"GET /b", b"Accept-Encoding: br;q=1, gzip;q=0"), request(b"GET /f/", b"Accept-Encoding: gzip"))
    save("server", "continue", plain, request(b"POST /e", b"Content-Length: 5", b"Expect: 100-continue"), SECOND,
         b"hello")
    save("server", "slow-body", plain, request(b"POST /e", b"Content-Length: 5"), b"h", MINUTE, b"ello")
    save("server", "slow-head", plain, b"GET / HTTP/1.1\r\nHo", SECOND, b"st: a", MINUTE, b"\r\n\r\n")
    save("server", "silent", plain, get, MINUTE, MINUTE)
    save("server", "reset", plain, request(b"GET /b"), RESET)
    save("server", "half-closed", plain, request(b"GET /v"), SHUTDOWN)
    save("server", "slow-reader", slow + b"", request(b"GET /b"), request(b"GET /b"), MINUTE)
    save("server", "both-ways", narrow, request(b"POST /d", CHUNKED, body=b"3\r\nabc\r\n" + SECOND + b"0\r\n\r\n"))
    save("server", "lines", plain, request(b"PUT /l", b"Content-Length: 8", body=b"one\ntwo\n"), request(b"GET /u",
         b"Connection: upgrade", b"Upgrade: echo"), b"bytes back")
    save("server", "limits", small, request(b"POST /e", b"Content-Length: 101"), get)
    save("server", "long-head", small, request(b"GET /", b"A: " + b"b" * 600))
    save("server", "refused", plain, request(b"POST /e", b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"))
    save("server", "old", plain, b"GET /b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         b"GET http://b/ HTTP/1.0\r\n\r\n")
    save("server", "connect", plain, b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
         b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    save("server", "little-memory", little, request(b"POST /e", b"Content-Length: 40000", body=b"x" * 2000), MINUTE)
    save("server", "websocket", plain, request(b"GET /w", *UPGRADE, b"Sec-WebSocket-Protocol: a, b"),
         ws_frame(1, b"hello", first=0), ws_frame(9, b"ping"), ws_frame(0, b" world"), ws_frame(2, b"\0" * 200),
         ws_frame(8, b"\x03\xe8bye"))
    save("server", "websocket-deflate", plain, request(b"GET /w", *UPGRADE, DEFLATE),
         ws_frame(1, HELLO_DEFLATED, first=0xc0), ws_frame(1, b"\xf2\x00\x11\x00\x00", first=0xc0), MINUTE)
    save("server", "websocket-refused", plain, request(b"GET /w", *UPGRADE, b"Origin: http://b"))
    save("server", "websocket-unmasked", plain, request(b"GET /w", *UPGRADE), ws_frame(1, b"hello", mask=b""))

    body = b"hello"
    save("server", "h2", plain, h2(
        frame(HEADERS, END_HEADERS | END_STREAM, 1, head(b"GET", b"/")),
        frame(HEADERS, END_HEADERS, 3, head(b"POST", b"/e", (b"content-length", b"5"))), frame(DATA, END_STREAM, 3,
        body),
        frame(HEADERS, END_HEADERS | END_STREAM, 5, head(b"HEAD", b"/b")),
        frame(HEADERS, END_HEADERS | END_STREAM, 7, head(b"GET", b"/f/a.txt"))))
    save("server", "h2-trailers", plain, h2(
        frame(HEADERS, END_HEADERS, 1, head(b"POST", b"/s")), frame(DATA, 0, 1, body),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(b"x-t", b"1"))))
    save("server", "h2-window", compress, PREFACE, frame(SETTINGS, 0, 0, b"\0\4\0\0\0\x0a"),
         frame(HEADERS, END_HEADERS | END_STREAM, 1, head(b"GET", b"/b")), SECOND,
         frame(WINDOW_UPDATE, 0, 1, b"\0\1\0\0"), frame(WINDOW_UPDATE, 0, 0, b"\0\1\0\0"), MINUTE)
    save("server", "h2-reset", plain, h2(
        frame(HEADERS, END_HEADERS, 1, head(b"POST", b"/d")), frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
        frame(HEADERS, END_HEADERS | END_STREAM, 3, head(b"GET", b"/v")), SECOND, frame(RST_STREAM, 0, 3,
        b"\0\0\0\x08")))
    save("server", "h2-continued", small, PREFACE, frame(SETTINGS, 0, 0),
         frame(HEADERS, END_STREAM, 1, head(b"GET", b"/")[:20]), SECOND,
         frame(CONTINUATION, END_HEADERS, 1, head(b"GET", b"/")[20:]), frame(PING, 0, 0, b"12345678"),
         frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0"), MINUTE)
    save("server", "h2-slow", plain, PREFACE, frame(SETTINGS, 0, 0), frame(HEADERS, END_STREAM, 1, head(b"GET", b"/")),
         MINUTE, frame(HEADERS, END_HEADERS, 3, head(b"POST", b"/e")), MINUTE)


def response(status, *fields, body=None):
    if body is not None:
        fields = (*fields, b"Content-Length: %d" % len(body))
    return b"\r\n".join([b"HTTP/1.1 " + status, *fields, b"", body or b""])


def gzip(plain):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(plain) + packer.flush()


BROTLI = bytes.fromhex("03010b058068656c6c6f20776f726c6403")    # "hello world"
ZSTD = bytes.fromhex("28b52ffd200b590000") + b"hello world"     # the same, as a raw block
# The calls and the options of client_fuzz.c.
(WHOLE, STREAM, HEAD, POST, POST_LARGE, POST_STREAM, EXPECT, WEBSOCKET, EVENTS, SWITCH, HTTPS, OPTIONS,
 READ_ALL) = range(13)
HTTP_2, PROXY, SOCKS, SMALL_LIMITS, RETRY, PARALLEL, LITTLE, CHALLENGED = (1 << bit for bit in range(8))


def seed_client():
    def case(name, call, options, *parts):
        save("client", name, bytes([call, options]), *parts)

    ok = response(b"200 OK", b"Content-Type: text/plain", body=b"hello")
    switch = response(b"101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket",
                      b"Sec-WebSocket-Accept: " + ACCEPT)
    case("two", WHOLE, 0, ok, WAIT, ok)
    case("parallel", STREAM, PARALLEL, ok, NEXT, ok)
    case("chunks", STREAM, 0, response(b"200 OK", CHUNKED, body=None), chunks(b"one", b"two", trailers=b"X-T: 3\r\n"))
    case("until-end", WHOLE, 0, response(b"200"), b"hello", SHUTDOWN, ok)
    case("cut", STREAM, 0, response(b"200 OK", b"Content-Length: 9"), b"hello", RESET)
    case("silent", STREAM, LITTLE, response(b"200 OK", b"Content-Length: 9"), b"hello", MINUTE, MINUTE)
    case("none", WHOLE, RETRY, SHUTDOWN, NEXT, RESET, NEXT, ok)
    case("retried", WHOLE, RETRY, response(b"503 Busy", b"Retry-After: 3", body=b""), WAIT, ok)
    digest = b'Digest realm="a", nonce="b", qop="auth,auth-int", opaque="c", algorithm=SHA-256-sess'
    who = response(b"401 Who", b"WWW-Authenticate: Basic realm=a", b"WWW-Authenticate: " + digest, body=b"")
    case("challenged", POST, CHALLENGED, who, WAIT, response(b"401 Who", b"WWW-Authenticate: " + digest
         + b", stale=true", body=b""), WAIT, ok)
    case("challenged-basic", WHOLE, CHALLENGED | PARALLEL, response(b"401 Who", b"WWW-Authenticate: Basic", body=b""),
         WAIT, ok, NEXT, who, WAIT, ok)
    case("challenged-upload", POST_LARGE, CHALLENGED, who, NEXT, who)
    case("challenged-by-proxy", HTTPS, CHALLENGED | PROXY, response(b"407 Who", b"Proxy-Authenticate: " + digest,
         body=b"who?"), NEXT, response(b"407 Who", b"Proxy-Authenticate: Basic realm=a", body=b""), NEXT,
         response(b"200 OK"))
    case("interim", EXPECT, 0, response(b"103 Early Hints", b"Link: </a>"), response(b"100 Continue"), WAIT, ok)
    case("refused", EXPECT, 0, response(b"417 Expectation Failed", body=b""))
    case("redirects", POST, 0, response(b"302 Found", b"Location: /z?a#b", b"Set-Cookie: c=d; Path=/", body=b""), WAIT,
         response(b"301 Moved", b"Location: //b/", b"Set-Cookie: e=f; Domain=a; Secure", body=b""), NEXT, ok)
    case("redirect-kept", POST_LARGE, 0, response(b"307 Temporary Redirect", b"Location: ../w", body=b"gone"), WAIT, ok)
    case("redirect-stream", POST_STREAM, 0, response(b"308 Permanent Redirect", b"Location: http://[::1]:8/", body=b""))
    case("head", HEAD, 0, response(b"200 OK", b"Content-Length: 5"), WAIT, response(b"304 Not Modified", b"ETag: a"))
    for name, body in (("gzip", gzip(b"hello world" * 30)), ("br", BROTLI), ("zstd", ZSTD),
                       ("deflate", zlib.compress(b"hello world"))):
        case(name, STREAM, 0, response(b"200 OK", b"Content-Encoding: " + name.encode(), body=body))
    case("bomb", WHOLE, SMALL_LIMITS, response(b"200 OK", b"Content-Encoding: gzip", body=gzip(bytes(200000))))
    case("twice", WHOLE, 0, response(b"200 OK", b"Content-Encoding: gzip, br", body=b"x"))
    case("folded", WHOLE, 0, response(b"200 OK", b"A: b\r\n c", body=b"hello"))
    case("long", WHOLE, SMALL_LIMITS, response(b"200 OK", b"A: " + b"b" * 500, body=b""))
    case("refused-framing", WHOLE, 0, response(b"200 OK", b"Content-Length: 5", CHUNKED), b"0\r\n\r\n")
    case("all", READ_ALL, 0, response(b"200 OK", body=b"x" * 1100))
    case("options", OPTIONS, 0, response(b"204 No Content", b"Allow: GET"))
    case("events", EVENTS, 0, response(b"200 OK", b"Content-Type: text/event-stream"),
         b"id: 1\ndata: a\n\n", SECOND, b"retry: 5\nevent: e\ndata: b\ndata: c\n\n")
    case("switched", SWITCH, 0, response(b"101 Switching Protocols", b"Connection: upgrade", b"Upgrade: echo"),
         b"hello")
    case("proxied", WHOLE, PROXY, response(b"407 Who?", b"Proxy-Authenticate: Basic realm=a", body=b"no"), WAIT, ok)
    case("tunnel", HTTPS, PROXY, response(b"103 Early"), response(b"200 Connected"), b"\x15\x03\x03\0\x02\x02\x28")
    case("tunnel-refused", WEBSOCKET, PROXY, response(b"403 No\tway", body=b"no"))
    case("socks", WHOLE, SOCKS, b"\5\2", WAIT, b"\1\0", WAIT, b"\5\0\0\1\x7f\0\0\1\0\x50", WAIT, ok)
    case("socks-refused", WHOLE, SOCKS, b"\5\0", WAIT, b"\5\5\0\3\1a\0\x50")
    case("websocket", WEBSOCKET, 0, switch, ws_frame(1, b"hello", mask=b""), ws_frame(8, b"\x03\xe8", mask=b""))

    fields = literal(b"content-length", b"5")
    two = (frame(HEADERS, END_HEADERS, 1, b"\x88" + fields), frame(DATA, END_STREAM, 1, b"hello"), WAIT,
           frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x8d"))
    server = frame(SETTINGS, 0, 0) + frame(SETTINGS, ACK, 0)
    case("h2", WHOLE, HTTP_2, server, *two)
    case("h2-trailers", STREAM, HTTP_2, server, frame(HEADERS, END_HEADERS, 1, literal(b":status", b"103")),
         frame(HEADERS, END_HEADERS, 1, b"\x88"), frame(DATA, 0, 1, b"hello"), SECOND,
         frame(HEADERS, END_HEADERS | END_STREAM, 1, literal(b"x-t", b"1")))
    case("h2-reset", POST, HTTP_2 | RETRY, server, frame(RST_STREAM, 0, 1, b"\0\0\0\7"), WAIT,
         frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x88"))
    case("h2-goaway", WHOLE, HTTP_2, server, frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\0"), NEXT, server, *two)
    case("h2-goes-back", WHOLE, HTTP_2, server, frame(RST_STREAM, 0, 1, b"\0\0\0\x0d"), NEXT, ok)
    case("h2-window", POST_LARGE, HTTP_2, frame(SETTINGS, 0, 0, b"\0\4\0\0\0\x0a"), frame(SETTINGS, ACK, 0), SECOND,
         frame(WINDOW_UPDATE, 0, 1, b"\0\1\0\0"), SECOND, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88"))
    case("h2-length", WHOLE, HTTP_2, server, frame(HEADERS, END_HEADERS, 1, b"\x88" + fields),
         frame(DATA, END_STREAM, 1, b"much more"))
    case("h2-push", WHOLE, HTTP_2, server, frame(PUSH, END_HEADERS, 1, b"\0\0\0\2" + head(b"GET", b"/")))


def seed_websocket():
    server, ready, compress, protocols, narrow, answers = (1 << bit for bit in range(6))

    def case(name, options, *parts):
        save("websocket", name, bytes([options]), *parts)

    def served(opcode, payload, first=0x80):
        return ws_frame(opcode, payload, b"", first)

    close = b"\x03\xe8bye"
    accept = (b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Accept: " + ACCEPT)
    case("server-handshake", server | compress | protocols, request(b"GET /", *UPGRADE, DEFLATE,
         b"Sec-WebSocket-Protocol: c, a", b"Origin: http://a"), ws_frame(8, close))
    case("server-refuses", server, request(b"GET /", b"Connection: upgrade", b"Upgrade: websocket",
                                           b"Sec-WebSocket-Version: 8", b"Sec-WebSocket-Key: a"))
    case("server-messages", server | ready | answers, ws_frame(1, b"hel", first=0), ws_frame(9, b"ping"),
         ws_frame(0, "lö€".encode()), ws_frame(2, bytes(range(256)) * 2), ws_frame(8, close), b"more")
    case("server-deflated", server | ready | compress | answers, ws_frame(1, HELLO_DEFLATED, first=0xc0),
         ws_frame(1, HELLO_DEFLATED[:3], first=0x40), ws_frame(0, HELLO_DEFLATED[3:]),
         ws_frame(1, bytes.fromhex("f200110000"), first=0xc0), ws_frame(8, b""))
    case("server-silent", server | ready, ws_frame(10, b""), MINUTE)
    case("server-cut", server | ready | narrow, ws_frame(1, b"hello")[:7], SECOND, RESET)
    case("server-large", server | ready, ws_frame(2, bytes(5001)))
    case("server-pieces", server | ready, ws_frame(1, b"", first=0), ws_frame(0, b"", first=0) * 12)
    case("server-not-text", server | ready, ws_frame(1, b"a\xed\xa0\x80"))
    case("server-reserved", server | ready, ws_frame(3, b"a"))
    case("server-unmasked", server | ready, served(1, b"a"))
    case("server-close-code", server | ready, ws_frame(8, b"\x03\xed"))
    case("client-handshake", compress | protocols, response(b"101 Hello", *accept,
         b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
         b"Sec-WebSocket-Protocol: b"), served(1, HELLO_DEFLATED, first=0xc0), served(8, close))
    case("client-not-accepted", 0, response(b"101 Hello", b"Connection: upgrade", b"Upgrade: websocket",
                                            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    case("client-twice", 0, response(b"101 Hello", *accept, b"Sec-WebSocket-Protocol: a"))
    case("client-not-offered", 0, response(b"101 Hello", *accept, b"Sec-WebSocket-Extensions: x-other"))
    case("client-refused", 0, response(b"403 Forbidden", body=b"no"))
    case("client-messages", ready | answers | protocols, served(1, b"hel", first=0), served(9, b"ping"), served(0,
         b"lo"),
         served(2, bytes(300)), SECOND, served(8, close))
    case("client-deflated", ready | compress, served(2, HELLO_DEFLATED, first=0xc0), MINUTE, served(10, b""))
    case("client-masked", ready, ws_frame(1, b"a"))


def seed_process_pool():
    def frame_of(kind, result=0, size=0, words=0, duration=0, text=b""):
        return struct.pack("=iiQQQqQ", kind, result, 0, size, words, duration, 0) + text

    returned, sleeps, no_memory = 1, 2, 3
    save("process_pool", "result", bytes([3]), frame_of(returned, 5, 3, text=b"abc"))
    save("process_pool", "failure", bytes([1]), frame_of(returned, -5, 1, 4, text=b"aword"))
    save("process_pool", "sleeps", bytes([0]), frame_of(sleeps, duration=10 ** 9) * 2, frame_of(returned, 1))
    save("process_pool", "sleeps-for-good", bytes([0]), frame_of(sleeps, duration=2 ** 63 - 1), frame_of(returned, 1))
    save("process_pool", "no-memory", bytes([1]), frame_of(no_memory))
    save("process_pool", "cut", bytes([9]), frame_of(returned, 5, 9, text=b"abc"))
    save("process_pool", "other-size", bytes([1]), frame_of(returned, 5, 2 ** 40, text=b"abc"))
    save("process_pool", "many-words", bytes([0]), frame_of(returned, -5, 0, 512, text=b"a" * 512))
    save("process_pool", "call", bytes([0]), frame_of(0))
    save("process_pool", "two-results", bytes([1]), frame_of(returned, 5, 1, text=b"a") * 2)


def seed_tls():
    between, server, tls_1_2, narrow, alpn = (1 << bit for bit in range(5))

    def vector(width, payload):
        return len(payload).to_bytes(width, "big") + payload

    def record(kind, payload, version=b"\x03\x03"):
        return bytes([kind]) + version + vector(2, payload)

    def message(kind, payload):
        return bytes([kind]) + vector(3, payload)

    def extension(number, payload):
        return struct.pack(">H", number) + vector(2, payload)

    def hello(name, *more):
        extensions = (extension(0, vector(2, b"\0" + vector(2, name))), extension(10, vector(2, b"\0\x1d\0\x17")),
                      extension(13, vector(2, b"\4\3\x08\x04")), extension(11, vector(1, b"\0")), *more)
        return message(1, b"\x03\x03" + b"r" * 32 + vector(1, b"") + vector(2, b"\x13\x01\xc0\x2b\0\xff") +
                       vector(1, b"\0") + vector(2, b"".join(extensions)))

    def server_hello(cipher, *extensions):
        return message(2, b"\x03\x03" + b"s" * 32 + vector(1, b"") + cipher + b"\0" + vector(2, b"".join(extensions)))

    versions = extension(43, vector(1, b"\3\4\3\3"))
    share = extension(51, vector(2, b"\0\x1d" + vector(2, b"\x09" + bytes(31))))
    protocols = extension(16, vector(2, vector(1, b"h2")))
    handshake, alert, ccs, data = 22, 21, 20, 23
    new = hello(b"a", versions, share, protocols)
    save("tls", "server-hello-1.3", bytes([server]), record(handshake, new, b"\3\1"), record(ccs, b"\1"),
         record(data, bytes(40)))
    save("tls", "server-hello-1.2", bytes([server | tls_1_2]), record(handshake, hello(b"a"), b"\3\1"), SECOND,
         record(alert, b"\2\x28"))
    save("tls", "server-in-records", bytes([server]), *(record(handshake, new[i:i + 30]) for i in range(0, len(new),
         30)))
    save("tls", "server-name", bytes([server]), record(handshake, hello(b"a\0b%", versions, share)))
    save("tls", "server-alpn", bytes([server]), record(handshake, hello(b"a", versions, extension(16, b"\0\3\2xx"))))
    save("tls", "server-http", bytes([server]), b"GET / HTTP/1.1\r\n\r\n")
    save("tls", "server-silent", bytes([server]), record(handshake, new)[:20], MINUTE)
    save("tls", "server-reset", bytes([server]), record(handshake, new), RESET)
    save("tls", "client-hello-1.3", bytes([alpn]), WAIT, record(handshake, server_hello(
        b"\x13\x01", extension(43, b"\3\4"), extension(51, b"\0\x1d" + vector(2, b"\x09" + bytes(31))))),
        record(data, bytes(60)))
    save("tls", "client-retry", bytes([0]), WAIT, record(handshake, message(2, b"\3\3" + bytes.fromhex(
        "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c") + b"\0\x13\x01\0" + vector(2, b"".join(
            (extension(43, b"\3\4"), extension(51, b"\0\x17")))))))
    save("tls", "client-hello-1.2", bytes([tls_1_2]), WAIT, record(handshake, server_hello(b"\xc0\x2b") + message(
        11, vector(3, vector(3, b"\x30\0"))) + message(14, b"")))
    save("tls", "client-alert", bytes([0]), WAIT, record(alert, b"\2\x46"))
    save("tls", "client-closed", bytes([0]), WAIT, record(alert, b"\1\0"), SHUTDOWN)

    # Changes: a record (128 and more: of the server), what is done to it, where, with which value.
    flip, drop, double, cut, retype, insert, wait, split = range(8)
    for name, version in (("1.2", tls_1_2), ("1.3", 0)):
        options = between | version
        save("tls", f"between-{name}", bytes([options | narrow | alpn]))
        save("tls", f"flipped-{name}", bytes([options]), bytes([0x86, flip, 40, 1]))
        save("tls", f"dropped-{name}", bytes([options]), bytes([5, drop, 0, 0]))
        save("tls", f"replayed-{name}", bytes([options]), bytes([6, double, 0, 0]))
        save("tls", f"cut-{name}", bytes([options]), bytes([0x87, cut, 0, 0]))
        save("tls", f"inserted-{name}", bytes([options]), bytes([0x84, insert, 2, alert, 3, insert, 1, ccs]))
        save("tls", f"split-{name}", bytes([options]), bytes([0, split, 30, 0, 0x80, split, 9, 0, 0x80, wait, 0, 3]))
        save("tls", f"retyped-{name}", bytes([options]), bytes([4, retype, 0, handshake]))
        save("tls", f"late-{name}", bytes([options]), bytes([0x80, wait, 0, 60]))


def seed_parsers():
    """More for the targets of single parsers; their first byte chooses role and pieces."""
    client, server = b"\6", b"\7"
    save("h1", "smuggled", server, request(b"POST /", b"Content-Length: 6", CHUNKED),
         b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n")
    save("h1", "lengths", server, request(b"POST /", b"Content-Length: 5", b"Content-Length: 5"), b"hello",
         request(b"POST /", b"Content-Length: +5"), b"hello")
    save("h1", "extensions", server, request(b"POST /", CHUNKED),
         b"5 ; a = \"b\\\"\" ;c\r\nhello\r\n0\r\nX-T: 1\r\n\r\n")
    save("h1", "absolute", server, b"GET http://u@b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n", request(b"OPTIONS *"))
    save("h1", "bare-line-ends", server, b"GET / HTTP/1.1\nHost: a\n\n", b"\r\n\r\n", request(b"GET /"))
    save("h1", "folded", client, b"HTTP/1.1 200 OK\r\nA: b\r\n \t c\r\nContent-Length: 0\r\n\r\n")
    save("h1", "interim", client, response(b"100 Continue"), response(b"103 Early", b"Link: a"), response(b"204 None"),
         response(b"304 Same", b"Content-Length: 9"), response(b"200 OK", b"Transfer-Encoding: gzip"), b"until the end")

    save("h2", "padded", server, frame(HEADERS, END_HEADERS | 8, 1, b"\2" + head(b"POST", b"/") + b"\0\0"),
         frame(DATA, 8, 1, b"\3abc\0\0\0"), frame(DATA, END_STREAM, 1))
    save("h2", "priority", server, frame(HEADERS, END_HEADERS | END_STREAM | 32, 3, b"\0\0\0\1\x10" + head(b"GET",
         b"/")),
         frame(PRIORITY, 0, 5, b"\0\0\0\3\1"), frame(PRIORITY, 0, 3, b"\0\0\0\3\1"))
    save("h2", "continued", server, frame(HEADERS, END_STREAM, 1, head(b"GET", b"/")[:9]),
         frame(CONTINUATION, 0, 1, head(b"GET", b"/")[9:20]), frame(CONTINUATION, END_HEADERS, 1, head(b"GET",
         b"/")[20:]))
    save("h2", "table", server, frame(SETTINGS, 0, 0, b"\0\1\0\0\0\0"),
         frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f\x82\x86\x84\x41\1a\x40\1a\1b"),
         frame(HEADERS, END_HEADERS | END_STREAM, 3, b"\x82\x86\x84\xbf\xbe"))
    save("h2", "windows", server, frame(HEADERS, END_HEADERS, 1, head(b"POST", b"/")), frame(WINDOW_UPDATE, 0, 1,
         b"\x7f\xff\xff\xff"),
         frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"))
    save("h2", "late", server, frame(HEADERS, END_HEADERS | END_STREAM, 5, head(b"GET", b"/")),
         frame(HEADERS, END_HEADERS | END_STREAM, 3, head(b"GET", b"/")), frame(DATA, 0, 5, b"a"), frame(RST_STREAM, 0,
         7, b"\0\0\0\0"))
    save("h2", "connect", server, frame(HEADERS, END_HEADERS, 1, literal(b":method",
         b"CONNECT") + literal(b":authority", b"a:1")),
         frame(DATA, 0, 1, b"bytes"), frame(DATA, END_STREAM, 1))
    save("h2", "upper-case", server, frame(HEADERS, END_HEADERS | END_STREAM, 1, head(b"GET", b"/", (b"A", b"b"))),
         frame(HEADERS, END_HEADERS | END_STREAM, 3, head(b"GET", b"/", (b"connection", b"close"))))
    save("h2", "going", client, frame(SETTINGS, 0, 0, b"\0\3\0\0\0\1"), frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0bye"),
         frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x88"), frame(PUSH, END_HEADERS, 3, b"\0\0\0\2" + head(b"GET",
         b"/")))

    both = b"\x0f"     # a server that knows permessage-deflate
    save("ws", "fragments", both, ws_frame(1, b"a\xe2\x82", first=0), ws_frame(9, b""), ws_frame(0, b"\xac"))
    save("ws", "lengths", both, ws_frame(2, bytes(126)), ws_frame(2, bytes(900), first=0),
         b"\x80\xff" + bytes(8) + b"mask")
    save("ws", "closes", both, ws_frame(8, b"\x0f\xa0" + b"r" * 123))
    save("ws", "deflated", both, ws_frame(1, HELLO_DEFLATED, first=0xc0), ws_frame(2, b"x", first=0x40), ws_frame(0,
         b"y"))
    save("sse", "mark", b"\5\xef\xbb\xbfdata: a\rdata:b\r\n\r\nid:\nevent\nretry:1x\n: c\ndata\n\n")
    parts = (b"--b 1\r\nContent-Disposition: form-data; name=\"b\"; filename*=UTF-8''%e2%82%ac\r\n"
             b"\r\n\r\n--b 1-\r\n--b 1--\r\nafter")
    save("multipart", "near-boundaries", b"\4before\r\n" + parts)


def main():
    seed_parsers()
    seed_tls()
    seed_process_pool()
    seed_websocket()
    seed_server()
    seed_client()


if __name__ == "__main__":
    main()
