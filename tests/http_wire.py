"""What a client of HTTP writes and reads, right or wrong: requests and replies of HTTP/1.1, frames of HTTP/2."""

import re
import struct

from native import check


# ---- HTTP/1.1

def request(method, target, fields=b"", body=b""):
    return f"{method} {target} HTTP/1.1\r\nHost: a\r\n".encode() + fields + b"\r\n" + body


class Reply:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def __repr__(self):
        return f"<{self.status} {self.fields} {self.body[:200]!r}>"


def cut_chunks(data):
    """The body in chunks at the beginning of data, and what is behind it."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        if not length:
            return body, data.partition(b"\r\n")[2]
        body += data[:length]
        data = data[length + 2:]


def parse_replies(data, methods=()):
    """The final replies, in order; methods are those of the requests, where they matter: HEAD."""
    replies, methods = [], list(methods)
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        match = re.fullmatch(rb"HTTP/1\.[01] (\d\d\d)(?: .*)?", lines[0])
        check(end and match, "no reply:", head[:300])
        fields = [(name.lower().decode(), value.strip().decode("latin-1"))
                  for name, _, value in (line.partition(b":") for line in lines[1:])]
        status, known = int(match[1]), dict(fields)
        if status < 200 and status != 101:
            continue
        method = methods.pop(0) if methods else "GET"
        if method == "HEAD" or status in (204, 304):
            body = b""
        elif known.get("transfer-encoding") == "chunked":
            body, data = cut_chunks(data)
        else:
            length = int(known.get("content-length", len(data)))
            body, data = data[:length], data[length:]
        replies.append(Reply(status, known, body))
    return replies


# ---- HTTP/2

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
PROTOCOL_ERROR, ENHANCE_YOUR_CALM = 1, 11


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, prefix, first):
    """An integer of HPACK, whose first byte has `prefix` bits for it (RFC 7541, section 5.1)."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def literal(name, value, first=0):
    """A field, not to be indexed; 0x40: added to the table."""
    name, value = (s.encode() if isinstance(s, str) else s for s in (name, value))
    return bytes([first]) + number(len(name), 7, 0) + name + number(len(value), 7, 0) + value


def head(target="/", method="GET", *fields, scheme="http", authority="a"):
    pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", target)]
    return b"".join(literal(name, value) for name, value in [*pseudo, *fields] if value is not None)


def open_stream(number_, target="/", method="GET", *fields, flags=END_STREAM):
    return frame(HEADERS, flags | END_HEADERS, number_, head(target, method, *fields))


def setting(number_, value):
    return struct.pack(">HI", number_, value)


def window(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def code(number_):
    return struct.pack(">I", number_)


def cut_frames(data):
    """Whole frames at the beginning of data, as (kind, flags, stream, payload)."""
    frames, at = [], 0
    while len(data) - at >= 9:
        length = int.from_bytes(data[at:at + 3], "big")
        if len(data) - at < 9 + length:
            break
        kind, flags, stream = struct.unpack(">BBI", data[at + 3:at + 9])
        frames.append((kind, flags, stream & 0x7fffffff, data[at + 9:at + 9 + length]))
        at += 9 + length
    return frames


def last_words(data):
    """The code of the last GOAWAY."""
    codes = [struct.unpack(">I", payload[4:8])[0] for kind, _, _, payload in cut_frames(data) if kind == GOAWAY]
    return codes[-1] if codes else None
