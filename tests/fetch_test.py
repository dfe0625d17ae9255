#!/usr/bin/env python3
"""The example `get`, against nginx and HAProxy: it downloads, continues and checks.

usage: fetch_test.py GET [WORD...]     cases whose names contain one of the words

See native.py.
"""

import fcntl
import hashlib
import os
import pty
import random
import signal
import struct
import subprocess
import termios
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from native import (LIMIT, case, check, free_port, nginx, programs, run_cases, server, temporary_directory, tool,
                    wait_until)

GET, = programs(1)
COMPRESSION = "gzip on; gzip_min_length 100;"

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    server nginx 127.0.0.1:{target}
"""


def call(*command, expect=0):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    check(done.returncode == expect, command, "exited with", done.returncode, done.stdout, done.stderr)
    return done


def make_files(directory, count, size):
    site, random_bytes = directory / "site", random.Random(1)
    site.mkdir()
    for number in range(count):
        (site / f"file{number}").write_bytes(random_bytes.randbytes(size + number))
    return site


def download(directory, port, out, count):
    urls = [f"http://127.0.0.1:{port}/file{number}" for number in range(count)]
    done = call(GET, "--directory", out, "--sha256", "--jobs", 8, *urls)
    sums = dict(reversed(line.split("  ")) for line in done.stdout.splitlines())
    for number in range(count):
        bytes_there = (directory / "site" / f"file{number}").read_bytes()
        check((out / f"file{number}").read_bytes() == bytes_there, "file", number, "differs")
        check(sums[f"{out}/file{number}"] == hashlib.sha256(bytes_there).hexdigest(), "another checksum")
    check(not list(out.glob("*.part")), "parts are left")


@case
def get_downloads_many_files_from_nginx_and_through_haproxy():
    with temporary_directory() as directory:
        front, count = free_port(), 40
        site, config = make_files(directory, count, 100000), directory / "haproxy.cfg"
        for name in ("direct", "haproxy"):
            (directory / name).mkdir()
        with nginx(directory, site, COMPRESSION) as port:
            download(directory, port, directory / "direct", count)
            config.write_text(HAPROXY.format(port=front, target=port))
            with server([tool("haproxy"), "-f", config], front):
                download(directory, front, directory / "haproxy", count)


@case
def get_continues_where_it_was_interrupted_unless_the_file_is_another_one():
    with temporary_directory() as directory:
        site, out = make_files(directory, 2, 500000), directory / "out"
        out.mkdir()
        for number, age in ((0, 0), (1, 1000)):
            original, part = site / f"file{number}", out / f"file{number}.part"
            os.utime(original, (1e9, 1e9))
            part.write_bytes(original.read_bytes()[:300000] if age == 0 else b"x" * 300000)
            os.utime(part, (1e9 - age, 1e9 - age))
        with nginx(directory, site, COMPRESSION) as port:
            download(directory, port, out, 2)


@case
def get_goes_on_after_a_signal():
    for number in (signal.SIGINT, signal.SIGTERM):
        stop_and_go_on(number)


def stop_and_go_on(number):
    slow = COMPRESSION + " map $arg_slow $rate { default 0; 1 100k; } limit_rate $rate;"
    with temporary_directory() as directory:
        site, out = make_files(directory, 1, 1_000_000), directory / "out"
        part = out / "file0.part"
        out.mkdir()
        with nginx(directory, site, slow) as port:
            process = subprocess.Popen([str(GET), "--directory", str(out), f"http://127.0.0.1:{port}/file0?slow=1"],
                                       stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: part.exists() and part.stat().st_size > 0, "nothing comes")
            process.send_signal(number)
            check("run the same command again" in process.communicate(timeout=LIMIT)[1], "no advice")
            check(process.returncode == 130, process.returncode)
            size, there = part.stat().st_size, (site / "file0").read_bytes()
            check(part.read_bytes() == there[:size] and size < len(there), "the part is not a part of the file")
            check(int(part.stat().st_mtime) == int((site / "file0").stat().st_mtime), "the part has another time")
            download(directory, port, out, 1)


@case
def get_keeps_the_date_that_the_rest_comes_without():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            check(self.headers["If-Range"] == "Sun, 09 Sep 2001 01:46:40 GMT", self.headers)
            self.send_response(206)
            self.send_header("Content-Range", "bytes 3-5/6")
            self.send_header("Content-Length", "3")
            self.end_headers()
            self.wfile.write(b"def")

        def log_message(self, *_):
            pass

    with temporary_directory() as directory, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        (directory / "file.part").write_text("abc")
        os.utime(directory / "file.part", (1e9, 1e9))
        call(GET, "--directory", directory, f"http://127.0.0.1:{http.server_port}/file")
        http.shutdown()
        file = directory / "file"
        check(file.read_text() == "abcdef" and file.stat().st_mtime == 1e9, file.read_text(), file.stat())


@case
def get_keeps_what_could_be_written():
    with temporary_directory() as directory:
        site, out = make_files(directory, 1, 500000), directory / "out"
        out.mkdir()
        with nginx(directory, site, COMPRESSION) as port:
            limit = ["prlimit", "--fsize=200000"]  # as on a disk that is full
            done = call(*limit, GET, "--directory", out, f"http://127.0.0.1:{port}/file0", expect=1)
            check(f"{out}/file0.part: File too large" in done.stderr, done.stderr)
            check((out / "file0.part").stat().st_size == 200000, "not all that there was room for")
            download(directory, port, out, 1)


@case
def names_are_never_used_twice():
    with temporary_directory() as directory:
        site, out = make_files(directory, 0, 0), directory / "out"
        names = ["x.1", "x", "sub/x", "x.part", "sub/x.part", "sub/x.1"]
        expected = ["x.1", "x", "x.2", "x.part.1", "x.part.2", "x.1.1"]
        out.mkdir()
        (site / "sub").mkdir()
        for name in names:
            (site / name).write_text(name)
        with nginx(directory, site, COMPRESSION) as port:
            call(GET, "--directory", out, *[f"http://127.0.0.1:{port}/{name}" for name in names])
            found = {path.name: path.read_text() for path in out.iterdir()}
            check(found == dict(zip(expected, names)), found)
            (out / "file").mkdir()
            done = call(GET, "--directory", out, f"http://127.0.0.1:{port}/file", expect=1)
            check(f"{out}/file is a directory" in done.stderr, done.stderr)


@case
def get_tells_what_it_cannot_do():
    with temporary_directory() as directory:
        site = make_files(directory, 1, 10)
        with nginx(directory, site, COMPRESSION) as port, open("/dev/full", "w") as full:
            url = f"http://127.0.0.1:{port}/file0"
            done = subprocess.run([str(GET), "--directory", str(directory), "--sha256", url], stdin=subprocess.DEVNULL,
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
            check(done.returncode == 1 and "standard output" in done.stderr, done.returncode, done.stderr)
        done = call("prlimit", "--nofile=4", GET, "--directory", directory, url, expect=1)
        check("Too many open files" in done.stderr, done.stderr)
        done = call(GET, "--directory", directory / "none", url, expect=2)
        check(f"{directory}/none: No such file or directory" in done.stderr, done.stderr)
        done = call(GET, "--directory", directory, "file0", "http://no-such-host.invalid/", f"https://127.0.0.1:{port}/",
                    expect=1)
        for text in ('file0: "file0" is not an http or https URL\n', "unknown host", "3 of 3 files are missing"):
            check(text in done.stderr, text, "is not in", done.stderr)


@case
def progress_is_no_longer_than_the_terminal_is_wide():
    slow = COMPRESSION + " limit_rate 100k;"
    with temporary_directory() as directory:
        site, (ours, theirs) = make_files(directory, 1, 300_000), pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 12, 0, 0))
        with nginx(directory, site, slow) as port:
            process = subprocess.Popen([str(GET), "--directory", str(directory), f"http://127.0.0.1:{port}/file0"],
                                       stdin=subprocess.DEVNULL, stderr=theirs)
            os.close(theirs)
            shown = b""
            while shown.count(b"\r\x1b[K") < 3:
                shown += os.read(ours, 1000)
            process.terminate()
            process.wait(LIMIT)
            os.close(ours)
            check(shown.split(b"\r\x1b[K")[1] == b"0 of 1 file", shown)


@case
def get_says_what_is_missing():
    with temporary_directory() as directory:
        site = make_files(directory, 1, 10)
        with nginx(directory, site, COMPRESSION) as port:
            base = f"http://127.0.0.1:{port}"
            done = call(GET, "--directory", directory, f"{base}/file0", f"{base}/nothing", expect=1)
            check(f"{base}/nothing: 404 Not Found" in done.stderr, done.stderr)
            check((directory / "file0").exists(), "the other one is missing, too")
        done = call(GET, "--directory", directory, f"{base}/file0", expect=1)
        check("Connection refused" in done.stderr, done.stderr)
        check("usage" in call(GET, "--help").stdout, "no help")
        check("no URL" in call(GET, expect=2).stderr, "no complaint")


if __name__ == "__main__":
    run_cases()
