"""What examples/crawl.c does, by aiohttp: follows the links of a site, and counts.

    crawl_aiohttp.py URL
"""

import asyncio
import sys
import time
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found += [value for name, value in attributes if name in ("href", "src") and value]


async def main(start, at_once=16):
    origin = urlsplit(start)[:2]
    seen, links, broken = {start}, 0, 0
    queue = asyncio.Queue()
    queue.put_nowait(start)

    async def visit(session, url):
        nonlocal links, broken
        async with session.get(url) as response:
            broken += response.status >= 400
            if response.status >= 400 or response.content_type != "text/html":
                return
            page = Links()
            page.feed(await response.text())
        for link in page.found:
            target = urldefrag(urljoin(url, link)).url
            if urlsplit(target)[:2] != origin:
                continue
            links += 1
            if target not in seen:
                seen.add(target)
                queue.put_nowait(target)

    async def work(session):
        while True:
            url = await queue.get()
            try:
                await visit(session, url)
            finally:
                queue.task_done()

    async with aiohttp.ClientSession() as session:
        workers = [asyncio.create_task(work(session)) for _ in range(at_once)]
        began = time.perf_counter()
        await queue.join()
        took = time.perf_counter() - began
        for worker in workers:
            worker.cancel()
    print(f"{len(seen)} pages, {links} links, {broken} broken in {took:.1f} s ({len(seen) / took:.0f} pages a second)")


asyncio.run(main(sys.argv[1]))
