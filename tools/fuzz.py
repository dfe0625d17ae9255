#!/usr/bin/env python3
"""Builds the fuzz targets with clang's libFuzzer and runs each for a bounded time.

The targets are the programs fuzz/<name>_fuzz.c; fuzz/corpus/<name>/ holds the inputs that each starts
from, fuzz/dict/ the words of the formats. New inputs go to build-fuzz/corpus/, what libFuzzer says to
build-fuzz/log/, a crash to build-fuzz/crash-<name>-...
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"
INTERACTIVE = sys.stdout.isatty() and not os.environ.get("CI")

# The dictionaries of a target; one that is not listed has the one of its name, if there is any.
DICTIONARIES = {
    "client": ["peer", "http1", "http2", "coding", "websocket", "cookie", "sse", "host"],
    "fields": ["http1", "websocket", "multipart"],
    "h1": ["http1"],
    "h2": ["http2"],
    "proxy": ["host"],
    "server": ["peer", "http1", "http2", "websocket"],
    "url": ["host"],
    "websocket": ["peer", "http1", "websocket"],
    "ws": ["websocket"],
    "ws_deflate": ["websocket", "coding"],
}


def build():
    if not (BUILD / "build.ninja").exists():
        print("configuring build-fuzz", flush=True)
        subprocess.run(["meson", "setup", BUILD, "-Dfuzz=true", "-Dtests=false", "-Dexamples=false",
                        "-Db_lundef=false", "-Db_sanitize=address,undefined",
                        "-Dc_args=-fsanitize=fuzzer-no-link"],
                       env={**os.environ, "CC": "clang"}, check=True, stdout=subprocess.DEVNULL)
    print("building in build-fuzz", flush=True)
    subprocess.run(["ninja", "-C", BUILD, "--quiet"], check=True)


def dictionary(name):
    """Writes one file of all dictionaries of a target; libFuzzer takes only one. Returns its options."""
    files = [ROOT / "fuzz" / "dict" / f"{part}.dict" for part in DICTIONARIES.get(name, [name])]
    text = "".join(file.read_text() for file in files if file.exists())
    joined = BUILD / "dict" / name
    joined.parent.mkdir(exist_ok=True)
    joined.write_text(text)
    return [f"-dict={joined}"] if text else []


def tell(title, seconds, since, log, end):
    """How far a target is, from the last of what libFuzzer said."""
    done = re.findall(rb"#(\d+)\t.*cov: (\d+)", log.read_bytes()[-20000:])
    runs, points = (int(n) for n in done[-1]) if done else (0, 0)
    print(f"\r\033[K" * INTERACTIVE + f"{title}: {min(int(time.monotonic() - since), seconds)} of {seconds} s, "
          f"{runs} runs, {points} points of the code", end=end, flush=True)


def fuzz(name, title, seconds):
    found = BUILD / "corpus" / name
    seeds = ROOT / "fuzz" / "corpus" / name
    log = BUILD / "log" / name
    for directory in (found, log.parent, BUILD / "tmp"):
        directory.mkdir(parents=True, exist_ok=True)
    since = time.monotonic()
    with log.open("wb") as out:
        run = subprocess.Popen([BUILD / "fuzz" / f"{name}_fuzz", f"-max_total_time={seconds}", "-timeout=20",
                                "-print_final_stats=1", f"-artifact_prefix={BUILD}/crash-{name}-",
                                *dictionary(name), found, *([seeds] if seeds.is_dir() else [])],
                               env={"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", **os.environ,
                                    "TMPDIR": str(BUILD / "tmp")},
                               stdout=out, stderr=subprocess.STDOUT)
        while True:
            try:
                run.wait(1)
                break
            except subprocess.TimeoutExpired:
                if INTERACTIVE:
                    tell(title, seconds, since, log, "")
    tell(title, seconds, since, log, "\n")
    if run.returncode != 0:
        print(log.read_bytes()[-6000:].decode(errors="replace"), flush=True)
    return run.returncode == 0


def main():
    targets = sorted(p.name.removesuffix("_fuzz.c") for p in (ROOT / "fuzz").glob("*_fuzz.c"))
    names = [n for n in targets if n in sys.argv[1:]] if sys.argv[1:] else targets
    if not names:
        print(f"nothing to fuzz: the targets are {' '.join(targets)}" if targets else "there are no fuzz targets")
        return 1 if sys.argv[1:] else 0
    build()
    seconds = int(os.environ.get("FUZZ_SECONDS", "60"))
    failed = [name for i, name in enumerate(names) if not fuzz(name, f"[{i + 1}/{len(names)}] {name}", seconds)]
    print(f"fuzzed {', '.join(names)}: {'crashes in ' + ', '.join(failed) if failed else 'nothing found'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
