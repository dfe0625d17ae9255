#!/usr/bin/env python3
"""curl against the server, in what it does that the example httpd has no use for: uploads that wait for consent,
compressed replies, requests as a proxy gets them.

usage: http_curl_test.py HTTP_TARGET [WORD...]     cases whose names contain one of the words

See native.py and http_target.c.
"""

import filecmp
import os
import subprocess

from http_target import Peer
from native import DIRECTORY, LIMIT, SCALE, case, check, make_certificate, programs, run_cases, tool

Peer.program, = programs(1)
PATIENCE = 10 * LIMIT  # seconds that curl waits for consent: more than it has
TEXT = b"some words that repeat themselves\n" * 3000
VERSIONS = ("--http1.1", "--http2-prior-knowledge")


def curl(*arguments, expect=0):
    done = subprocess.run([tool("curl"), "-sS", *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    check(done.returncode == expect, "curl", *arguments, "exited with", done.returncode, done.stderr.decode())
    return done.stdout


def upload(peer, path, *options):
    return curl("--noproxy", "*", "--expect100-timeout", PATIENCE, "-H", "Expect: 100-continue", "-T", DIRECTORY / "text.txt",
                *options, f"http://127.0.0.1:{peer.port}{path}")


@case
def uploads_wait_for_consent_and_get_it():
    with Peer() as peer:
        for version in VERSIONS:
            check(upload(peer, "/up", version) == b"PUT /up %d\n" % len(TEXT), version, "another length")


@case
def uploads_that_nobody_reads_are_not_sent():
    with Peer() as peer:
        sent = upload(peer, "/stats", "--http1.1", "-o", os.devnull, "-w", "%{http_code} %{size_upload}")
        check(sent == b"200 0", sent)


def send_and_get_back(what, *options):
    back = DIRECTORY / "back"
    curl("--noproxy", "*", "--cacert", DIRECTORY / "cert.pem", "-T", what, "-o", back, *options)
    check(filecmp.cmp(what, back, shallow=False), *options, "differs")


@case
def uploads_come_back_while_they_are_sent():
    long = DIRECTORY / "long"
    long.write_bytes(os.urandom(1 << 20) * 60)
    chunked = "-H", "Transfer-Encoding: chunked"
    with Peer("--body", 1 << 30) as peer:
        before, url = peer.memory(), f"http://127.0.0.1:{peer.port}/both"
        for options in (("--http1.1",), ("--http1.1", *chunked), ("--http2-prior-knowledge",)):
            send_and_get_back(long, *options, url)
        check(SCALE > 1 or peer.memory() < before + 8, "it took", peer.memory() - before, "MiB")
    with Peer("--body", 1 << 30, "--cert", DIRECTORY / "cert.pem", "--key", DIRECTORY / "key.pem") as peer:
        for version in ("--http1.1", "--http2"):
            send_and_get_back(long, version, f"https://localhost:{peer.port}/both")


@case
def compressed_replies_are_unpacked():
    with Peer("--compress", "yes", "--root", DIRECTORY) as peer:
        url = f"http://127.0.0.1:{peer.port}/files/text.txt"
        for version in VERSIONS:
            for coding in ("gzip", "br"):
                asked = ("--noproxy", "*", version, "-H", f"Accept-Encoding: {coding}")
                check(curl(*asked, "--compressed", url) == TEXT, version, coding, "differs")
                packed = curl(*asked, "-D", DIRECTORY / "head", url)
                check(len(packed) < len(TEXT) / 10, version, coding, "is as long as it was:", len(packed))
                check(f"content-encoding: {coding}" in (DIRECTORY / "head").read_text().lower(), coding, "is not named")


@case
def requests_come_as_a_proxy_gets_them():
    with Peer() as peer:
        got = curl("--noproxy", "", "-x", f"http://127.0.0.1:{peer.port}", "http://example.invalid/a?b", "http://example.invalid")
        check(got == b"GET /a 0\nGET / 0\n", got)


if __name__ == "__main__":
    (DIRECTORY / "text.txt").write_bytes(TEXT)
    make_certificate()
    run_cases()
