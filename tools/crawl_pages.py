#!/usr/bin/env python3
"""Crawls the documentation of a Debian package with our link checker, from our file server; and with aiohttp, where
that is installed.

usage: crawl_pages.py BUILD PAGES
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def interpreter_with(module):
    """Debian's modules belong to Debian's interpreter."""
    for candidate in ("/usr/bin/python3", sys.executable):
        if shutil.which(candidate) and subprocess.run([candidate, "-c", f"import {module}"],
                                                      stderr=subprocess.DEVNULL).returncode == 0:
            return candidate
    return None


def main():
    build, pages = map(Path, sys.argv[1:])
    starts = sorted(pages.rglob("index.html"), key=lambda path: len(path.parts))
    programs = [build / "examples" / name for name in ("httpd", "crawl")]
    if not starts or not all(program.exists() for program in programs):
        print("no crawl: it needs a documentation package, and libxml2")
        return 0
    httpd, crawl = programs
    server = subprocess.Popen([httpd, "--quiet", "--listen", "localhost:0", starts[0].parent], stdout=subprocess.PIPE,
                              text=True)
    try:
        url = server.stdout.readline().split()[-1].rstrip("/") + "/index.html"
        print(f"\nA crawl of {starts[0].parent.relative_to(pages)}, served by httpd:", flush=True)
        status = subprocess.run([crawl, url], timeout=60).returncode
        if status == 1:
            print("(What is broken is so in the package: it leaves some files to others.)", flush=True)
        python = interpreter_with("aiohttp")
        if python:
            print("The same by aiohttp:", flush=True)
            subprocess.run([python, ROOT / "bench" / "peers" / "crawl_aiohttp.py", url], timeout=60)
        return status > 1
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
