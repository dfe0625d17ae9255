#!/usr/bin/env python3
"""The example crawler on sites that are made for it, and on the manual of a Debian package.

usage: crawl_test.py CRAWL HTTPD [WORD...]     cases whose names contain one of the words

See native.py.
"""

import contextlib
import fcntl
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from native import (LIMIT, Skipped, case, check, free_port, programs, run_cases, temporary_directory, unprivileged,
                    wait_until)

CRAWL, HTTPD = programs(2)
ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "build-pages/usr/share/doc/python-flask-doc/html"
HTML = "text/html; charset=utf-8"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


# ---- A site

def page(*links, more=""):
    """A page that leads there."""
    return "".join(f'<a href="{link}">x</a>\n' for link in links) + more


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server.site
        with site.lock:
            site.asked[self.path] += 1
            site.agents.add(self.headers["User-Agent"])
            site.running += 1
            site.most = max(site.most, site.running)
        try:
            self.answer(site.pages.get(self.path, (404, HTML, "")))
        finally:
            with site.lock:
                site.running -= 1

    def answer(self, what):
        if callable(what):
            what(self)
            return
        status, kind, body = what if isinstance(what, tuple) else (200, HTML, what)
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", kind)
        elif kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *_):
        pass


class Site:
    """Serves pages: path -> HTML, (status, content type or location, body), or a function that gets the handler."""

    def __init__(self, pages):
        self.pages, self.asked, self.agents = pages, Counter(), set()
        self.running = self.most = 0
        self.lock, self.end = threading.Lock(), threading.Event()

    def __enter__(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.site = self
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.end.set()
        self.server.shutdown()
        self.server.server_close()

    def crawl(self, *options, start="/", status=1):
        """Crawls; returns what was printed, without the site in the addresses, and what was complained about."""
        done = subprocess.run([CRAWL, *[str(o) for o in options], self.url + start], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=LIMIT * 2, check=False)
        out, err = (text.replace(self.url, "") for text in (done.stdout, done.stderr))
        check(done.returncode == status, "it exited with", done.returncode, out, err)
        return out, err


def crawl_is(pages, expected, *options, status=1, start="/"):
    """Crawls a site, all broken links of which are expected."""
    with Site(pages) as site:
        out, err = site.crawl("--quiet", "--all", *options, status=status, start=start)
        check(out == expected, f"it printed\n{out}and not\n{expected}", err)
        check(not err, err)
        return site


def numbers(text):
    """The summary."""
    found = re.search(r"^(\d+) pages and (\d+) other files in [\d.]+ s; (\d+) links, (\d+) of them broken\n"
                      r"not visited: (\d+) links to other sites, (\d+) addresses that robots.txt forbids, "
                      r"(\d+) over the limit\n\Z", text, re.MULTILINE)
    check(found, "no summary:", text)
    return tuple(map(int, found.groups()))


# ---- What is found

@case
def site_without_broken_links_is_good():
    with Site({"/": page("a", "/b.png", "#x", more='<img src="b.png"><p id="x">'), "/a": page("/"),
               "/b.png": (200, "image/png", "png")}) as site:
        out, err = site.crawl(status=0)
        check(numbers(out) == (2, 1, 5, 0, 0, 0, 0) and not err, out, err)
        check(site.agents == {"rota-crawl"}, site.agents)


@case
def broken_link_is_reported_with_the_pages_that_have_it():
    pages = {"/": page("a", "b", "c", "d", "gone"), "/c": page("gone"), "/d": page("gone", "lost"),
             "/a": page("gone", more='<script src="gone.js"></script><link href=gone.css>'),
             "/b": page("a", "gone"), "/lost": (410, HTML, page("not-followed"))}
    crawl_is(pages, "/gone: 404 Not Found\n    in /\n    in /a\n    in /b\n    in /c\n    in /d\n"
                    "/gone.css: 404 Not Found\n    in /a\n/gone.js: 404 Not Found\n    in /a\n"
                    "/lost: 410 Gone\n    in /d\n")
    with Site(pages) as site:
        out, _ = site.crawl()
        check(out.startswith("/gone: 404 Not Found\n    in /\n    in /a\n    in /b\n    and 2 more\n"), out)
        check(numbers(out) == (5, 4, 14, 8, 0, 0, 0), out)


@case
def first_address_may_be_broken_itself():
    crawl_is({}, "/: 404 Not Found\n    in the command line\n")
    crawl_is({"/a": page()}, "/a#x: no such anchor in the page\n    in the command line\n", start="/a#x")


@case
def fragments_name_places():
    crawl_is({"/": page("#here", "#old", "#%C3%A4", "#top", "#TOP", "#", "#no", "a#no", "a?q#no", "file#no",
                        more='<p id=here><a name=old></a><b id="ä"></b><form name="no">'),
              "/a": page(), "/a?q": page(more='<i id="no">'), "/file": (200, "text/plain", "no")},
             "/#no: no such anchor in the page\n    in /\n/a#no: no such anchor in the page\n    in /\n")


@case
def fragments_are_compared_as_written_and_decoded():
    crawl_is({"/": page("#a%20b", "#a b", "#%41", "#C", "#c%20d",
                        more='<p id="a%20b"><p id="a b"><p id="%41"><p id="c d">')},
             "/#C: no such anchor in the page\n    in /\n")


@case
def text_directives_are_for_the_browser():
    crawl_is({"/": page("#:~:text=word", "a#:~:text=no,such", "a#x:~:text=word", "a#no:~:text=word"),
              "/a": page(more='<p id="x">')}, "/a#no: no such anchor in the page\n    in /\n")


@case
def what_stands_in_a_textarea_is_text():
    crawl_is({"/": '<title><a href=none></title><noframes><a href=none></noframes>'
                   '<textarea id=x><a href="none">x</a><p id=y><style>a{b:url(none)}</style></textarea>'
                   '<iframe src=frame><a href=none></iframe>' + page("#x", "#y", "good"),
              "/good": page(), "/frame": page()}, "/#y: no such anchor in the page\n    in /\n")


@case
def all_attributes_that_hold_addresses_are_links():
    crawl_is({"/": '<body background=a><video poster=b></video><object data=c></object><table background=d></table>'
                   '<svg><use xlink:href="e.svg#x"/></svg><link imagesrcset="f 1x, g 2x">'
                   '<p data="none" poster="none">'},
             "".join(f"/{name}: 404 Not Found\n    in /\n" for name in ["a", "b", "c", "d", "e.svg#x", "f", "g"]))


@case
def schemes_without_slashes_are_relative():
    site = crawl_is({"/dir/": page("http:page", "http:/top", "HTTP:page#x"),
                     "/dir/page": page(more="<p id=x>"), "/top": page()}, "", status=0, start="/dir/")
    check({"/dir/page", "/top"} <= set(site.asked), site.asked)


@case
def redirects_are_followed_and_judged():
    with Site({}) as other:
        crawl_is({"/": page("good", "chain", "gone", "circle", "long", "away", "odd", "good#x", "good#y", "own"),
                  "/good": (302, "/target", ""), "/target": page(more='<p id="x">'),
                  "/own": (301, "/target#y", ""),
                  "/chain": (301, "chain2", ""), "/chain2": (307, "/good", ""),
                  "/gone": (302, "/nowhere", ""),
                  "/circle": (302, "/circle2", ""), "/circle2": (302, "/circle", ""),
                  "/away": (302, other.url + "/x", ""), "/odd": (302, "http://[", ""),
                  "/long": (302, "/long0", ""), **{f"/long{i}": (302, f"/long{i + 1}", "") for i in range(12)}},
                 "/circle: too many redirects\n    in /\n/gone -> /nowhere: 404 Not Found\n    in /\n"
                 "/good#y -> /target: no such anchor in the page\n    in /\n/long: too many redirects\n    in /\n"
                 "/odd -> http://[: not a valid address\n    in /\n"
                 "/own -> /target#y: no such anchor in the page\n    in /\n")
        check(not other.asked, "the other site was asked for", other.asked)


@case
def other_sites_and_schemes_are_left_alone():
    with Site({}) as other:
        host, port = other.url[7:].split(":")
        links = [other.url, f"//{host}:{port}/x", f"https://{host}:{port}/", "mailto:a@b", "javascript:void(0)",
                 "data:text/html,x", "ftp://a/b", "tel:+1"]
        with Site({"/": page(*links)}) as site:
            out, _ = site.crawl(status=0)
            check(numbers(out) == (1, 0, 1, 0, len(links), 0, 0), out)
        check(not other.asked, "the other site was asked for", other.asked)


@case
def page_is_visited_once_whatever_it_is_called():
    names = ["a", "/a", "./a", "x/../a", "%61", "/a#x", "/a#y", " a ", "/b/../a", "//HOST/a", "http://HOST/a",
             "HTTP://HOST/./a"]
    pages = {"/a": page("a", "/", more='<p id="x"><p id="y">'), "/robots.txt": (404, HTML, "")}
    with Site(pages) as site:
        pages["/"] = page(*[n.replace("HOST", site.url[7:]) for n in names])
        out, _ = site.crawl("--connections", 20, status=0)
        check(set(site.asked) == {"/", "/a", "/robots.txt"} and max(site.asked.values()) == 1, site.asked)
        check(numbers(out) == (2, 0, 6, 0, 0, 0, 0), out)


@case
def odd_links_are_understood_as_browsers_do():
    site = crawl_is({"/": page("a b", "ä", "100%", "q?a=b c&amp;d=&#233;", "\n\tc\n", "d\te\n", "http://[",
                               "http://a:99999/", "", "?x", more="<a href><a href=d>unquoted<A HREF='e'><a href='f?<script>'><p id=>")},
                    "/%C3%A4: 404 Not Found\n    in /\n/100%25: 404 Not Found\n    in /\n"
                    "/?x: 404 Not Found\n    in /\n/a%20b: 404 Not Found\n    in /\n"
                    "/c: 404 Not Found\n    in /\n/d: 404 Not Found\n    in /\n/de: 404 Not Found\n    in /\n"
                    "/e: 404 Not Found\n    in /\n"
                    "/f?%3Cscript%3E: 404 Not Found\n    in /\n/q?a=b%20c&d=%C3%A9: 404 Not Found\n    in /\n"
                    "http://[: not a valid address\n    in /\nhttp://a:99999/: not a valid address\n    in /\n")
    check(site.asked["/%C3%A4"] == 1, site.asked)


@case
def base_of_a_page_counts():
    crawl_is({"/": page("dir/a"), "/dir/a": '<base href="/other/"><base href="/third/">' + page("b"), "/other/b": page()},
             "", status=0)


SVG = (200, "image/svg+xml", "<svg/>")
CSS = "text/css; charset=utf-8"


@case
def images_for_several_screens_are_found():
    crawl_is({"/": '<img src=a srcset="a 1x, b 2x, dir/c,"><picture><source srcset="d 100w,gone 200w"></picture>',
              **{path: SVG for path in ("/a", "/b", "/dir/c", "/d")}}, "/gone: 404 Not Found\n    in /\n")


@case
def refresh_leads_on():
    crawl_is({"/": '<meta http-equiv="Refresh" content="5; URL=\'next\'"><meta name="x" content="0; url=none">'
                   '<meta http-equiv="refresh" content="30">', "/next": page("gone")},
             "/gone: 404 Not Found\n    in /next\n")


@case
def style_sheets_are_read():
    sheet = '@charset "utf-8"; @import "more.css"; /* url(none) */ a { background: url( "../a.svg" ) } ' \
            "b::before { content: 'url(none)' } c { src: url(gone.woff#x), url(#none) }"
    with Site({"/": page(more='<link rel="stylesheet" href="css/all.css"><style>@import url(css/more.css);'
                              '<!-- p { background: url(a.svg) } --></style><script>"url(none)"</script>'
                              '<p style="background: url(&quot;b.svg&quot;)">'),
               "/css/all.css": (200, CSS, sheet), "/css/more.css": (200, CSS, "d { e: url(/c.svg)"),
               "/a.svg": SVG, "/b.svg": SVG, "/c.svg": SVG}) as site:
        out, _ = site.crawl()
        check(out.startswith("/css/gone.woff#x: 404 Not Found\n    in /css/all.css\n1 pages and 6 other files"), out)
        check(numbers(out)[2:4] == (9, 1), out)
        check(max(site.asked.values()) == 1 and "/none" not in site.asked, site.asked)


@case
def base_counts_for_styles_and_images_but_not_in_style_sheets():
    crawl_is({"/": '<base href="/dir/"><img srcset="a"><style>b { c: url(b) }</style><link href="c.css">'
                   '<meta http-equiv="refresh" content="0;d">', "/dir/a": SVG, "/dir/b": SVG, "/dir/d": page(),
              "/dir/c.css": (200, CSS, "d { e: url(e) }"), "/dir/e": SVG}, "", status=0)


@case
def encodings_are_those_of_server_or_page():
    text = page("ä")
    meta = '<html><head><meta charset="{}"></head><body>'
    old = '<html><head><meta http-equiv="Content-Type" content="text/html; charset={}"></head><body>'
    pages = {"/": page("latin", "quoted", "utf16", "meta", "old", "both", "koi8", "unknown"),
             "/latin": (200, "text/html; charset=ISO-8859-1", text.encode("latin-1")),
             "/quoted": (200, 'Text/HTML; Charset="windows-1252"; x=y', text.encode("latin-1")),
             "/utf16": (200, "text/html; charset=utf-16le", text.encode("utf-16-le")),
             "/meta": (200, "text/html", (meta.format("iso-8859-1") + text).encode("latin-1")),
             "/old": (200, "text/html", (old.format("windows-1252") + text).encode("latin-1")),
             "/both": (200, HTML, meta.format("iso-8859-1") + text),
             "/koi8": (200, "text/html; charset=koi8-r", page("д").encode("koi8-r")),
             "/unknown": (200, "text/html; charset=martian", page("plain"))}
    crawl_is({**pages, "/%C3%A4": page(), "/%D0%B4": page(), "/plain": page()}, "", status=0)


@case
def only_html_is_read():
    for kind in ("text/plain", "image/png", "application/octet-stream", None):
        crawl_is({"/": page("file"), "/file": (200, kind, page("never"))}, "", status=0)
    crawl_is({"/": page("file"), "/file": (200, "application/xhtml+xml", page("gone"))},
             "/gone: 404 Not Found\n    in /file\n")


@case
def junk_is_no_end():
    junk = bytes(range(256)) * 40 + b"<a href='x" + b"<" * 3000 + b"'\0><!--" + b"<![CDATA[" * 20
    deep = "<div>" * 50000 + page("gone")
    with Site({"/": page("junk", "deep", "empty"), "/junk": junk, "/deep": deep, "/empty": ""}) as site:
        out, _ = site.crawl()
        check("/gone: 404 Not Found\n    in /deep\n" in out, out)


@case
def page_that_comes_byte_by_byte_is_the_same():
    body = (page("a", "gone") + '<p id="x"><a href="&#x61;#y">').encode()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", HTML)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for i in range(len(body)):
            handler.wfile.write(b"1\r\n" + body[i:i + 1] + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")
    crawl_is({"/": drip, "/a": page("/#x")},
             "/a#y: no such anchor in the page\n    in /\n/gone: 404 Not Found\n    in /\n")


@case
def large_page_is_read_and_a_huge_one_in_part():
    links = page(*[f"/{i % 100}" for i in range(50000)])
    huge = page("first") + " " * (17 << 20) + page("late") + "<p id=late>"
    site = crawl_is({"/": page("huge#late", more=links), "/huge": huge, "/first": page(),
                     **{f"/{i}": page() for i in range(99)}}, "/99: 404 Not Found\n    in /\n")
    check(site.asked["/late"] == 0, "what is beyond the limit was followed")


# ---- robots.txt

@case
def robots_is_obeyed():
    rules = "User-agent: *\nDisallow: /\n\n" \
            "User-agent: rota-crawl\nDisallow: /private\nAllow: /private/open$\nDisallow: /*.pdf\n"
    with Site({"/robots.txt": (200, "text/plain", rules),
               "/": page("a", "private/x", "private/open", "/x.pdf?y", "/gone"),
               "/a": (302, "/private/y", ""), "/private/open": page()}) as site:
        out, _ = site.crawl()
        check(out.startswith("/gone: 404 Not Found\n    in /\n2 pages"), out)
        check(numbers(out)[5] == 3, out)
        check(set(site.asked) == {"/robots.txt", "/", "/a", "/private/open", "/gone"}, site.asked)


@case
def robots_that_cannot_be_had_forbids_and_none_allows():
    for answer, text in (((500, HTML, ""), "robots.txt: 500 Internal Server Error"),
                         ((503, HTML, ""), "robots.txt: 503"),
                         ((200, "text/plain", "User-agent: *\nDisallow: /"), "robots.txt forbids /")):
        with Site({"/robots.txt": answer, "/": page()}) as site:
            out, err = site.crawl(status=2)
            check(text in err and not out, out, err)
            check(set(site.asked) == {"/robots.txt"}, site.asked)
    for answer in ((403, HTML, ""), (302, "/robots.txt", ""), (200, "text/plain", b"\0\xff" * 300000)):
        crawl_is({"/robots.txt": answer, "/": page()}, "", status=0)
    site = crawl_is({"/robots.txt": (301, "/moved", ""), "/moved": (200, "text/plain", "User-agent: *\nDisallow: /a"),
                     "/": page("a")}, "", status=0)
    check(not site.asked["/a"], site.asked)


@case
def robots_of_any_length_is_obeyed_as_far_as_it_is_read():
    line = "Disallow: /no\n"
    head = "User-agent: *\n"
    rest = (512 << 10) - len(head) - len("Disallow: /")
    filling = line * (rest // len(line)) + "#" * (rest % len(line) - 1) + "\n"
    for name, asked in (("later", 1), ("no", 0)):
        site = crawl_is({"/robots.txt": (200, "text/plain", head + filling + f"Disallow: /{name}\n"),
                         "/": page(name), "/later": page()}, "", status=0)
        check(site.asked[f"/{name}"] == asked, name, site.asked)


@case
def robots_that_is_not_there_allows_all():
    for status in (400, 401, 403, 404, 410, 429):
        crawl_is({"/robots.txt": (status, "text/plain", "User-agent: *\nDisallow: /"), "/": page()}, "", status=0)


@case
def robots_is_found_behind_five_redirects_and_no_more():
    for count, status in ((5, 2), (6, 0)):
        moved = {f"/r{i}": (302, f"/r{i + 1}", "") for i in range(1, count)}
        with Site({"/robots.txt": (302, "/r1", ""), **moved, "/": page(),
                   f"/r{count}": (200, "text/plain", "User-agent: *\nDisallow: /")}) as site:
            site.crawl(status=status)


# ---- Servers that fail

def stall(handler):
    handler.server.site.end.wait(LIMIT)


def stall_in_the_body(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", HTML)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(page("found").encode())
    stall(handler)


def hang_up(handler):
    handler.close_connection = True


def reset(handler):
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    os.close(handler.connection.detach())


def cut_short(handler):
    handler.send_response(200)
    handler.send_header("Content-Type", HTML)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(page("found").encode())
    handler.close_connection = True


def babble(handler):
    handler.wfile.write(b"220 mail.example ESMTP\r\n")
    handler.close_connection = True


@case
def servers_that_fail_are_told_apart_and_others_go_on():
    failing = {"stall": stall, "body": stall_in_the_body, "bye": hang_up, "reset": reset, "cut": cut_short,
               "babble": babble}
    with Site({"/": page(*failing, *[f"a{i}" for i in range(20)]), "/found": page(),
               **{f"/a{i}": page() for i in range(20)}, **{f"/{name}": f for name, f in failing.items()}}) as site:
        out, _ = site.crawl("--timeout", 1, "--connections", 4)
        problems = dict(re.findall(r"^/(\w+): (.*)$", out, re.MULTILINE))
        check(set(problems) == set(failing), out)
        for name, words in (("stall", "within 1 s"), ("body", "within 1 s"), ("bye", "closed|before|end"),
                            ("reset", "[Rr]eset"), ("cut", "cut|short"), ("babble", "HTTP|protocol")):
            check(re.search(words, problems[name]), name, problems[name])
        check(all(site.asked[f"/a{i}"] == 1 for i in range(20)) and site.asked["/found"] == 1, site.asked)
        check(numbers(out)[3] == len(failing), out)


@case
def server_that_is_not_there_is_told():
    port = free_port()
    done = subprocess.run([CRAWL, f"http://127.0.0.1:{port}/"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=LIMIT, check=False)
    check(done.returncode == 2 and "Connection refused" in done.stdout, done.returncode, done.stdout)


@case
def want_of_descriptors_is_told():
    done = subprocess.run(["prlimit", "--nofile=4", CRAWL, "http://localhost/"], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT, check=False)
    check(done.returncode == 2 and done.stderr == "crawl: make a loop: Too many open files\n", done.returncode, done.stderr)


@case
def start_that_leads_elsewhere_is_told():
    with Site({}) as other, Site({"/": (302, other.url, ""), "/f": (200, "text/plain", "f")}) as site:
        for start, why in (("/", "redirects, but not to an HTML page of its own site"), ("/f", "is not an HTML page")):
            _, err = site.crawl(status=2, start=start)
            check(why in err, err)


# ---- Limits

@case
def site_without_end_is_left_at_the_limit():
    class Endless(dict):
        def get(self, path, default=None):
            return default if path == "/robots.txt" else page(path + "x", path + "y")
    with Site(Endless()) as site:
        out, _ = site.crawl("--limit", 50, status=0)
        found = numbers(out)
        check(found[0] == 50 and found[6] == 51 and len(site.asked) == 51, out, site.asked)


@case
def connections_are_as_many_as_allowed():
    def crowded(handler):
        wait_until(lambda: site.running == 5 or len(site.asked) == 42, "no five at once")  # robots.txt, too
        handler.answer(page())
    with Site({"/": page(*[str(i) for i in range(40)]), **{f"/{i}": crowded for i in range(40)}}) as site:
        site.crawl("--connections", 5, status=0)
        check(site.most == 5, "at most", site.most)


@case
def interrupt_ends_with_a_report():
    for number in (signal.SIGINT, signal.SIGTERM):
        with Site({"/": page("gone", "a", "wait", "wait2", "later#x"), "/a": page(), "/found": page("wait3", "wait4"),
                   **{f"/{name}": stall for name in ("wait", "wait3", "wait4", "later")},
                   "/wait2": stall_in_the_body}) as site:
            process = subprocess.Popen([CRAWL, "--connections", "5", site.url], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            wait_until(lambda: site.running == 5, "it does not get there")
            process.send_signal(number)
            out, err = process.communicate(timeout=LIMIT)
            check(process.returncode == 130 and "interrupted; 5 known addresses were not visited" in err, out, err)
            check(out.replace(site.url, "").startswith("/gone: 404 Not Found\n    in /\n3 pages and 1 other files"), out)


# ---- What is shown

@case
def terminal_shows_a_line_that_is_rewritten():
    progress, seen = re.compile(rb"\r\x1b\[K1 of 2 pages, \d+ a second, 0 failed"), threading.Event()

    def after_the_line(handler):
        seen.wait(LIMIT)
        handler.answer(page())
    with Site({"/": page("next"), "/next": after_the_line}) as site:
        ours, theirs = pty.openpty()
        process = subprocess.Popen([CRAWL, site.url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's end
            while piece := os.read(ours, 1000):
                shown += piece
                if progress.search(shown):
                    seen.set()
        os.close(ours)
        process.communicate(timeout=LIMIT)
        check(process.returncode == 0, process.returncode)
        check(seen.is_set(), shown)
        check(shown.endswith(b"\r\x1b[K") and b"\n" not in shown, shown)


@case
def line_is_no_longer_than_the_terminal_is_wide():
    with Site({"/": page("next"), "/next": stall}) as site:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 12, 0, 0))
        process = subprocess.Popen([CRAWL, site.url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b""
        while shown.count(b"\r\x1b[K") < 2:
            shown += os.read(ours, 1000)
        process.terminate()
        process.communicate(timeout=LIMIT)
        os.close(ours)
        lines = shown.split(b"\r\x1b[K")
        check(lines[1] == b"1 of 2 page"[:11], lines)


@case
def report_that_cannot_be_written_is_a_failure():
    with Site({"/": page("gone")}) as site, open("/dev/full", "w") as full:
        done = subprocess.run([CRAWL, site.url], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True,
                              timeout=LIMIT, check=False)
        check(done.returncode == 2 and "standard output" in done.stderr, done.returncode, done.stderr)


@case
def mistakes_are_told_with_what_to_do():
    for arguments, status, text in (
            ([], 2, "no URL\nTry crawl --help."),
            (["localhost"], 2, "not an http:// or https:// address: localhost"),
            (["ftp://localhost/"], 2, "not an http:// or https:// address"),
            (["http://"], 2, "not an http:// or https:// address"),
            (["http://a b:x/"], 2, "not an http:// or https:// address"),
            (["http://a/", "http://b/"], 2, "only one URL is allowed: http://b/"),
            (["--fast", "http://a/"], 2, "unknown option: --fast"),
            (["http://a/", "--limit"], 2, "--limit needs a number above 0"),
            (["http://a/", "--connections", "0"], 2, "--connections needs a number above 0"),
            (["http://a/", "--timeout", "5s"], 2, "--timeout needs a number above 0"),
            (["http://no-such-host.invalid/"], 2, "no-such-host.invalid"),
            (["--help"], 0, "usage: crawl [OPTION]... URL")):
        done = subprocess.run([CRAWL, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              stdin=subprocess.DEVNULL, timeout=LIMIT * 2, check=False)
        check(done.returncode == status and text in done.stdout, arguments, done.returncode, done.stdout)


# ---- A real site

@contextlib.contextmanager
def httpd(root):
    """The example server; its URL."""
    process = subprocess.Popen([HTTPD, "--quiet", "--listen", "127.0.0.1:0", str(root)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True, **unprivileged())
    try:
        yield re.search(r"http://\S+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.communicate(timeout=LIMIT)


@case
def manual_is_seen_as_aiohttp_sees_it():
    if not PAGES.exists():
        raise Skipped("no documentation package: ./dev test downloads one")
    with temporary_directory() as directory:
        shutil.copytree(PAGES, directory / "html", ignore_dangling_symlinks=True)
        (directory / "html/license.html").write_text(
            page("gone", more='<base href="_static/"><img srcset="a 1x, b.png 2x,c"><style>/*url(no)*/@import "x.css";'
                              'a{b:url( d )} c{d:"url(no)"}</style><p style="e:url(\'e f\')"><base href="no/">'
                              '<meta http-equiv="refresh" content="9; url=g">'))
        (directory / "html/_static/x.css").write_text(
            "@import url('y.css'); @namespace url(no); a{b:url(\\68)url(#no)curl(no)} /* url(no)")
        with httpd(directory / "html") as url:
            done = subprocess.run([CRAWL, "--connections", "16", url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  text=True, timeout=LIMIT * 2, check=False)
            pages, others, links, broken, outside, forbidden, over = numbers(done.stdout)
            check(done.returncode == 1, done.returncode, done.stdout)
            check(f"{url}gone: 404 Not Found\n    in {url}license.html\n" in done.stdout, done.stdout)
            check(pages > 70, pages)
            check(others > 10 and links > 3000 and outside > 100 and forbidden == over == 0, done.stdout)
            python = "/usr/bin/python3"
            if subprocess.run([python, "-c", "import aiohttp"], stderr=subprocess.DEVNULL, check=False).returncode:
                raise Skipped("there is no aiohttp to compare with")
            theirs = subprocess.run([python, ROOT / "examples/crawl.py", "--connections", "16", url], text=True,
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=LIMIT * 3,
                                    check=False).stdout
            check(re.sub(r"in [\d.]+ s", "", theirs.splitlines()[-1]) in re.sub(r"in [\d.]+ s", "", done.stdout),
                  "aiohttp found", theirs, "and we", done.stdout)


if __name__ == "__main__":
    run_cases()
