#!/usr/bin/env python3
"""What crawl.c does, with aiohttp: to compare the two, in their text and in their time.

usage: crawl.py [--connections N] URL

Pages are parsed by lxml, which is libxml2 as in crawl.c, or by html.parser where there is no lxml.
"""

import argparse
import asyncio
import re
import sys
import time
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

import aiohttp

try:
    from lxml import etree
except ImportError:
    etree = None

AGENT = "rota-crawl"

# Style sheets: comments, then imports and urls, quoted or not, then strings and names that are none of these.
CSS = re.compile(r"""/\*.*?(?:\*/|$) | @namespace[^;]* | \\. |
                     (?:@import(?:\s|/\*.*?\*/)*|url\(\s*)(?:"((?:\\.|[^"\\\n])*)" | '((?:\\.|[^'\\\n])*)') |
                     url\(\s*((?:\\.|[^\s()"'\\])*)\s*(?:\)|$) |
                     "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'? | [\w-]+(?<!url)\(?""", re.X | re.S | re.I)
ESCAPE = re.compile(r"\\(?:([0-9a-f]{1,6})\s?|(.))", re.S | re.I)
SRCSET = re.compile(r"[\s,]*(\S*[^\s,])(?:,|[^,(]*(?:\([^)]*\)[^,(]*)*)")
REFRESH = re.compile(r"\s*[0-9.]+\s*(?:[;,]\s*|(?<=\s))(?:url\s*=\s*)?(?:\"([^\"]+)|'([^']+)|([^\"'].*))", re.I | re.S)


def links_of_css(text):
    for found in CSS.finditer(text):
        link = ESCAPE.sub(lambda e: e[2] if e[2] else chr(int(e[1], 16)), found[1] or found[2] or found[3] or "")
        if link and not link.startswith("#"):
            yield link


class Reader:
    """Takes elements as they come, from either parser."""

    def __init__(self, url):
        self.base, self.links, self.anchors = url, set(), set()
        self.based, self.style = False, None

    def add(self, link):
        self.links.add(urljoin(self.base, link.strip().replace(" ", "%20")))

    def start(self, tag, attributes):
        self.style = "" if tag == "style" else None
        if tag == "meta" and (attributes.get("http-equiv") or "").lower() == "refresh":
            found = REFRESH.match(attributes.get("content") or "")
            if found:
                self.add(found[1] or found[2] or found[3])
        for key, value in attributes.items():
            if value is None:
                continue
            if key == "id" or (key == "name" and tag == "a"):
                self.anchors.add(value)
            elif key == "href" and tag == "base":
                self.base = self.base if self.based else urljoin(self.base, value)
                self.based = True
            elif key in ("href", "src"):
                self.add(value)
            elif key == "srcset":
                for found in SRCSET.finditer(value):
                    self.add(found[1])
            elif key == "style":
                self.read_style(value)

    def data(self, text):
        if self.style is not None:
            self.style += text

    def end(self, tag):
        if tag == "style":
            self.read_style(self.style)
        self.style = None

    def read_style(self, text):
        for link in links_of_css(text):
            self.add(link)

    def close(self):
        pass


class PlainParser(HTMLParser):
    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def handle_starttag(self, tag, attrs):
        self.reader.start(tag, dict(attrs))

    def handle_data(self, data):
        self.reader.data(data)

    def handle_endtag(self, tag):
        self.reader.end(tag)


def read_page(url, body, charset):
    reader = Reader(url)
    if etree:
        parser = etree.HTMLParser(target=reader, encoding=charset)
        parser.feed(body)
    else:
        parser = PlainParser(reader)
        parser.feed(body.decode(charset or "utf-8", "replace"))
    parser.close()
    return reader


class Crawler:
    def __init__(self, url, connections):
        self.url, self.connections = url, connections
        self.origin = urlsplit(url)[:2]
        self.queue, self.robots = asyncio.Queue(), RobotFileParser()
        self.known, self.problems, self.anchors, self.redirects = set(), {}, {}, {}
        self.links = {}  # addresses with fragments, to the pages that have them
        self.outside = self.other = 0

    def add_link(self, page, link):
        url, _ = urldefrag(link)
        if urlsplit(url)[:2] != self.origin:
            self.outside += 1
            return
        self.links.setdefault(link, set()).add(page)
        self.add_page(url)

    def add_page(self, url):
        if url not in self.known and self.robots.can_fetch(AGENT, url):
            self.queue.put_nowait(url)
        self.known.add(url)

    async def visit(self, session, url):
        try:
            async with session.get(url, allow_redirects=False) as r:
                if 300 <= r.status < 400 and "Location" in r.headers:
                    self.redirects[url] = to = urljoin(url, r.headers["Location"])
                    if urlsplit(to)[:2] == self.origin:
                        self.add_page(urldefrag(to)[0])
                    await r.read()
                elif r.status != 200:
                    self.problems[url] = f"{r.status} {r.reason}"
                    await r.read()
                elif r.content_type in ("text/html", "application/xhtml+xml"):
                    reader = read_page(url, await r.read(), r.charset)
                    self.anchors[url] = reader.anchors
                    for link in reader.links:
                        self.add_link(url, link)
                    return
                elif r.content_type == "text/css":
                    reader = Reader(url)
                    reader.read_style((await r.read()).decode("utf-8", "replace"))
                    for link in reader.links:
                        self.add_link(url, link)
                else:
                    await r.read()
        except (aiohttp.ClientError, asyncio.TimeoutError) as e:
            self.problems[url] = str(e)
        self.other += 1

    async def work(self, session):
        while True:
            url = await self.queue.get()
            await self.visit(session, url)
            self.queue.task_done()

    def problem(self, link):
        url, fragment = urldefrag(link)
        for _ in range(10):
            if url not in self.redirects:
                break
            url, own = urldefrag(self.redirects[url])
            fragment = own or fragment
        if url in self.redirects:
            return "too many redirects"
        if url in self.problems:
            return self.problems[url]
        if fragment and fragment != "top" and url in self.anchors and unquote(fragment) not in self.anchors[url]:
            return "the page has no such place"
        return None

    async def crawl(self):
        connector = aiohttp.TCPConnector(limit=self.connections)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers={"User-Agent": AGENT}) as session:
            async with session.get(urljoin(self.url, "/robots.txt")) as r:
                self.robots.parse((await r.text()).splitlines() if r.status == 200 else [])
            self.add_link("the command line", self.url)
            workers = [asyncio.create_task(self.work(session)) for _ in range(self.connections)]
            await self.queue.join()
            for worker in workers:
                worker.cancel()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("url")
    args = parser.parse_args()

    start = time.monotonic()
    crawler = Crawler(args.url, args.connections)
    asyncio.run(crawler.crawl())
    count = broken = 0
    for link, pages in sorted(crawler.links.items()):
        problem = crawler.problem(link)
        count += len(pages)
        if problem:
            broken += len(pages)
            print(f"{link}: {problem}")
    print(f"{len(crawler.anchors)} pages and {crawler.other} other files in {time.monotonic() - start:.2f} s; "
          f"{count} links, {broken} of them broken")
    return broken > 0


if __name__ == "__main__":
    sys.exit(main())
