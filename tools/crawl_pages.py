#!/usr/bin/env python3
"""Crawls the documentation of a Debian package with our link checker, from our file server; and with aiohttp, where
that is installed.

usage: crawl_pages.py BUILD PAGES
"""

import re
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONNECTIONS = 32


def interpreter_with(module):
    """Debian's modules belong to Debian's interpreter."""
    for candidate in ("/usr/bin/python3", sys.executable):
        if Path(candidate).exists() and subprocess.run([candidate, "-c", f"import {module}"], check=False,
                                                       stderr=subprocess.DEVNULL).returncode == 0:
            return candidate
    return None


def without_missing(lines, root):
    """Replaces the reports on files that the package does not have by one line."""
    shown, missing, hidden = [], set(), False
    for line in lines:
        broken = re.match(r"http://[^/]+/([^#:]*)\S*: ", line)
        if broken:
            hidden = not (root / broken[1]).exists()
            missing |= {broken[1]} if hidden else set()
        elif not line.startswith(" "):
            hidden = False
        if not hidden:
            shown.append(line)
    if missing:
        shown.insert(0, f"Broken links lead to {len(missing)} files that this package leaves to others: "
                        f"{', '.join(sorted(Path(name).name for name in missing)[-2:])}, ...")
    return shown


def crawl(root, *command, last_line=False):
    """Runs a crawler; says how long all of the program took, and returns its status."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--connections", str(CONNECTIONS)], stdout=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    lines = done.stdout.splitlines()
    print("\n".join(lines[-1:] if last_line else without_missing(lines, root)))
    print(f"    (the whole program: {took:.2f} s; {after.ru_utime - before.ru_utime:.2f} s on a processor and "
          f"{after.ru_stime - before.ru_stime:.2f} s in the kernel)", flush=True)
    return done.returncode


def main():
    build, pages = map(Path, sys.argv[1:])
    starts = sorted(pages.rglob("index.html"), key=lambda path: (len(path.parts), path))
    programs = [build / "examples" / name for name in ("httpd", "crawl")]
    if not starts or not all(program.exists() for program in programs):
        print("no crawl: it needs a documentation package, and libxml2")
        return 0
    root = starts[0].parent
    server = subprocess.Popen([programs[0], "--quiet", "--listen", "localhost:0", root], stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().split()[-1]
        print(f"\nexamples/crawl.c looks for broken links in {root.relative_to(pages)},\nwhich examples/httpd.c serves, "
              f"with {CONNECTIONS} connections:\n", flush=True)
        status = crawl(root, programs[1], url)
        python = interpreter_with("aiohttp")
        if python:
            print("\nexamples/crawl.py, the same with aiohttp:", flush=True)
            crawl(root, python, ROOT / "examples/crawl.py", url, last_line=True)
        else:
            print("\nTo compare it with aiohttp: install python3-aiohttp (apt-get install python3-aiohttp), then do this again.")
        return status > 1
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
