#!/usr/bin/env python3
"""The example `get`, against nginx and HAProxy: it downloads, continues and checks.

usage: fetch_test.py GET [WORD...]     cases whose names contain one of the words

See native.py.
"""

import hashlib
import os
import random
import subprocess

from native import LIMIT, case, check, free_port, nginx, programs, run_cases, server, temporary_directory, tool

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
