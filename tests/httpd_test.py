#!/usr/bin/env python3
"""The example httpd, and so the server, with real clients: curl, nghttp, h2load, wrk, and sockets that misbehave.

usage: httpd_test.py HTTPD [WORD...]     cases whose names contain one of the words

See native.py.
"""

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from native import (DIRECTORY, LIMIT, Program, case, check, is_refused, make_certificate, programs, read_all, run,
                    run_cases, temporary_directory, tool, unprivileged, wait_until)

HTTPD, = programs(1)
FILES = {"small.html": b"<p>hello\n", "empty": b"", "text.txt": b"some words " * 500, "4k": os.urandom(4096),
         "big.bin": os.urandom(3_000_000), "sub/index.html": b"<h1>index</h1>"}


class Httpd:
    def __init__(self, *options, tls=False, limit=None):
        secure = ["--cert", DIRECTORY / "cert.pem", "--key", DIRECTORY / "key.pem"] if tls else []
        files = ["prlimit", f"--nofile={limit}"] if limit else []
        self.process = subprocess.Popen(
            [str(a) for a in [*files, HTTPD, "--listen", "127.0.0.1:0", *secure, *options, DIRECTORY / "site"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **unprivileged())
        line = self.process.stdout.readline()
        found = re.search(r"on (https?://127\.0\.0\.1:(\d+)/)$", line)
        check(found, "httpd did not start:", line)
        self.url, self.port = found[1], int(found[2])

    def stop(self, number=signal.SIGTERM):
        """Returns what it printed. With 0 it was told before: a second signal would end it at once."""
        if number and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            output, errors = self.process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise
        check(self.process.returncode == 0, "httpd exited with", self.process.returncode, errors)
        return output


@contextlib.contextmanager
def httpd(*options, tls=False, limit=None):
    h = Httpd(*options, tls=tls, limit=limit)
    try:
        yield h
    finally:
        h.stop()


def curl(*arguments):
    done = subprocess.run([tool("curl"), "-sS", "--noproxy", "*", "--insecure", *map(str, arguments)],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT * 3, check=False)
    check(done.returncode == 0, "curl", *arguments, "exited with", done.returncode, done.stderr.decode())
    return done.stdout


def connect(h):
    s = socket.create_connection(("127.0.0.1", h.port))
    s.settimeout(LIMIT)
    return s


def check_files(h, *options):
    for name, content in FILES.items():
        got = curl(*options, h.url + name)
        check(got == content, options, name, "differs:", len(got), "bytes for", len(content))


@case
def curl_gets_every_file_by_every_protocol():
    with httpd() as h:
        check_files(h)
        check_files(h, "--http1.0")
        check_files(h, "--http2-prior-knowledge")
    with httpd(tls=True) as h:
        check_files(h, "--http1.1")
        check_files(h, "--http2")
        check(curl("--http2", "-o", os.devnull, "-w", "%{http_version}", h.url) == b"2", "not HTTP/2")


@case
def curl_gets_parts_and_what_has_changed():
    # With prior knowledge, curl 7.88 cannot send a second request.
    for options in ([], ["--http2-prior-knowledge"]):
        with httpd() as h, temporary_directory() as directory:
            big = FILES["big.bin"]
            check(curl(*options, "-r", "100-199", h.url + "big.bin") == big[100:200], "a part differs")
            check(curl(*options, "-r", "-7", h.url + "big.bin") == big[-7:], "the end differs")
            half = directory / "half"
            half.write_bytes(big[:1_000_000])
            curl(*options, "-C", "-", "-o", half, h.url + "big.bin")
            check(half.read_bytes() == big, "what was resumed differs")
            tag = directory / "tag"
            curl(*options, "--etag-save", tag, "-o", os.devnull, h.url + "4k")
            status = curl(*options, "--etag-compare", tag, "-o", os.devnull, "-w", "%{http_code}", h.url + "4k")
            check(status == b"304", "not 304 but", status)
            check(b"small.html" in curl(*options, h.url), "no list")
            if not options:
                check(curl("-L", h.url + "sub?x=1") == FILES["sub/index.html"], "no redirect")


@case
def nothing_outside_is_reached():
    (DIRECTORY / "secret").write_text("secret")
    with httpd() as h:
        for way in ("../secret", "%2e%2e/secret", "sub/../../secret", "..%2fsecret", "link", "//../secret", ".hidden"):
            status = curl("--path-as-is", "-o", os.devnull, "-w", "%{http_code}", h.url + way)
            check(status == b"404", way, status)


@case
def many_downloads_at_once_arrive_whole():
    want = hashlib.sha256(FILES["big.bin"]).hexdigest()
    for options, tls in (([], False), (["--http1.1"], True), (["--http2"], True)):
        with httpd(tls=tls) as h, temporary_directory() as directory:
            curl(*options, "--parallel", "--parallel-max", "8", "-o", f"{directory}/#1", h.url + "big.bin?[1-20]")
            for i in range(1, 21):
                got = hashlib.sha256((directory / str(i)).read_bytes()).hexdigest()
                check(got == want, options, "download", i, "differs")


@case
def wrk_and_h2load_see_no_errors():
    with httpd("-q") as h:
        out = run(tool("wrk"), "-t1", "-c20", "-d1s", h.url + "4k")
        check("Non-2xx" not in out and "Socket errors" not in out and " 0 requests" not in out, out)
        out = run(tool("h2load"), "-n2000", "-c4", "-m16", h.url + "4k")
        check("2000 succeeded, 0 failed" in out, out)
    with httpd("-q", tls=True) as h:
        out = run(tool("h2load"), "-n1000", "-c4", "-m16", h.url + "4k")
        check("1000 succeeded, 0 failed" in out, out)


@case
def nghttp_gets_several_at_once():
    with httpd("-q") as h:
        out = run(tool("nghttp"), "-n", "-s", *[h.url + name for name in FILES if name != "sub/index.html"])
        check(out.count(" 200 ") == len(FILES) - 1, out)


@case
def slow_heads_and_readers_hold_up_nobody():
    with httpd("-q") as h:
        slow = [connect(h) for _ in range(100)]
        for i, s in enumerate(slow):
            s.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n" + (b"\r\n" if i % 2 else b""))
        check_files(h)
        for s in slow[:50]:
            s.close()
        check_files(h)
        check(slow[51].recv(8) == b"HTTP/1.1", "a slow reader got nothing")
        for s in slow[50:]:
            s.close()


@case
def a_stop_lets_downloads_end():
    h = Httpd("-q", "-g", 20)
    try:
        s, idle = connect(h), connect(h)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131072)
        s.sendall(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n")
        check(s.recv(8, socket.MSG_PEEK) == b"HTTP/1.1", "no reply")
        h.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_refused(h.port), "still listens")
        check(idle.recv(1) == b"", "an idle connection is kept")
        reply = read_all(s)
        check(reply.endswith(FILES["big.bin"]), "cut off after", len(reply))
    finally:
        h.stop(0)


@case
def a_stop_lets_streams_end():
    h = Httpd("-q", "-g", 20)
    try:
        client = subprocess.Popen([tool("curl"), "-sS", "--noproxy", "*", "--http2-prior-knowledge", "--limit-rate", "4M",
                                   h.url + "big.bin"], bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        got = client.stdout.read(1)
        h.process.send_signal(signal.SIGTERM)
        rest, errors = client.communicate(timeout=LIMIT * 3)
        check(client.returncode == 0 and got + rest == FILES["big.bin"], client.returncode, errors, len(rest))
    finally:
        h.stop(0)


@case
def requests_are_printed():
    h = Httpd()
    curl(h.url + "4k", h.url + "nothing")
    with connect(h) as s:
        s.sendall(b"GET / HTTP/9.9\r\n\r\n")
        read_all(s)
    with connect(h) as s:
        s.sendall(b"\0\r\n\r\n")
        read_all(s)
    lines = h.stop(signal.SIGINT).splitlines()
    check(re.fullmatch(r"127\.0\.0\.1:\d+ GET /4k 200 4096 bytes \d+\.\d ms", lines[0]), lines)
    check(" GET /nothing" in lines[1] and " 404 " in lines[1], lines)
    check(" GET / 505 " in lines[2], lines)
    check(" - - 400 " in lines[3], lines)


@case
def limits_are_those_of_the_options():
    (DIRECTORY / "site/huge").touch()
    os.truncate(DIRECTORY / "site/huge", 1 << 26)
    with httpd("-q", "--idle", "1", "--connections", "1") as h:
        idle, next_one = connect(h), connect(h)  # which is accepted by the kernel only
        next_one.sendall(b"GET /4k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        check(read_all(next_one).endswith(FILES["4k"]), "the next one is not served when the first has gone")
        check(idle.recv(1) == b"", "an idle connection is kept")
    with httpd("-q", "--stall", "1") as h:
        descriptors = Path(f"/proc/{h.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        slow = connect(h)
        slow.sendall(b"GET /huge HTTP/1.1\r\nHost: a\r\n\r\n")
        check(slow.recv(8) == b"HTTP/1.1", "no reply")
        wait_until(lambda: len(list(descriptors.iterdir())) == before, "a reader that takes nothing is kept")


@case
def connections_leave_descriptors_for_files():
    with httpd("-q", "-i", "1", limit=40) as h:
        crowd = [connect(h) for _ in range(60)]
        for s in crowd:
            s.sendall(b"GET /4k HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for s in crowd:
            check(read_all(s).endswith(FILES["4k"]), "a reply without the file")


@case
def port_that_is_taken_is_told_with_what_to_do():
    with httpd("-q") as h:
        for workers in (1, 2):
            done = subprocess.run([str(HTTPD), "-l", f"127.0.0.1:{h.port}", "-w", str(workers), str(DIRECTORY)], text=True,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT,
                                  check=False)
            check(done.returncode == 1 and done.stderr.count("\n") == 1, done.returncode, done.stderr)
            check("already in use; select another port with --listen" in done.stderr, done.stderr)


def limited(descriptors):
    return Program("prlimit", f"--nofile={descriptors}", HTTPD, "-l", "127.0.0.1:0", DIRECTORY)


@case
def want_of_descriptors_is_told():
    with limited(4) as h:
        check(h.line() == "httpd: make a loop: Too many open files\n", "not told why it does not serve")
    with limited(7) as h, socket.create_connection(("127.0.0.1", int(re.search(r":(\d+)/$", h.line())[1]))):
        told = h.line()
        check(told.endswith(": Too many open files; pausing\n") and told.startswith("httpd: "), told)


@case
def address_that_is_printed_can_be_used():
    for listen in ("[::1]:0", ":0"):
        process = subprocess.Popen([str(HTTPD), "-q", "-l", listen, str(DIRECTORY / "site")], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, text=True, **unprivileged())
        try:
            url = process.stdout.readline().split()[-1]
            check(curl("--globoff", url + "4k") == FILES["4k"], url)
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT)


@case
def directory_that_cannot_be_entered_is_told():
    (DIRECTORY / "closed").mkdir(mode=0, exist_ok=True)
    done = subprocess.run([str(HTTPD), "-l", "127.0.0.1:0", str(DIRECTORY / "closed")], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False, **unprivileged())
    check(done.returncode == 1 and "closed: Permission denied" in done.stderr, done.returncode, done.stderr)


@case
def wrong_usage_is_told():
    for arguments, status, text in (([DIRECTORY / "nowhere"], 1, "No such file"), (["--listen", "x"], 2, "not HOST:PORT"),
                                    (["--cert", "x"], 2, "must be given together"), (["--help"], 0, "usage: httpd"),
                                    (["a", "b"], 2, "only one directory is allowed: b"), (["--idle", "0"], 2, "must be 1 to"),
                                    (["--what"], 2, "Try httpd --help"),
                                    (["--cert", "/x", "--key", "/y", DIRECTORY], 1, "/x"),
                                    (["-l", "127.0.0.1:99999"], 2, "the port must be")):
        done = subprocess.run([HTTPD, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
        check(done.returncode == status and text in done.stdout, arguments, done.returncode, done.stdout)


def make_site():
    site = DIRECTORY / "site"
    (site / "sub").mkdir(parents=True)
    for name, content in FILES.items():
        (site / name).write_bytes(content)
    (site / "link").symlink_to("../secret")
    (site / ".hidden").write_text("hidden")


if __name__ == "__main__":
    make_site()
    make_certificate()
    run_cases()
