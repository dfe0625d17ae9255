#!/usr/bin/env python3
"""Builds the fuzz targets with clang's libFuzzer and runs each for a bounded time.

The targets are the programs fuzz/<name>_fuzz.c; fuzz/corpus/<name>/ holds the inputs that each starts
from. New inputs go to build-fuzz/corpus/, a crash to build-fuzz/crash-<name>-...
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build-fuzz"


def build():
    if not (BUILD / "build.ninja").exists():
        subprocess.run(["meson", "setup", BUILD, "-Dfuzz=true", "-Dtests=false", "-Dexamples=false",
                        "-Db_lundef=false", "-Db_sanitize=address,undefined",
                        "-Dc_args=-fsanitize=fuzzer-no-link"],
                       env={**os.environ, "CC": "clang"}, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", BUILD, "--quiet"], check=True)


def fuzz(name, seconds):
    found = BUILD / "corpus" / name
    found.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "fuzz" / "corpus" / name
    print(f"{name}: {seconds} s", flush=True)
    return subprocess.run([BUILD / "fuzz" / f"{name}_fuzz", f"-max_total_time={seconds}", "-timeout=10",
                           "-print_final_stats=1", f"-artifact_prefix={BUILD}/crash-{name}-",
                           found, *([seeds] if seeds.is_dir() else [])], check=False).returncode == 0


def main():
    targets = sorted(p.name.removesuffix("_fuzz.c") for p in (ROOT / "fuzz").glob("*_fuzz.c"))
    names = [n for n in targets if n in sys.argv[1:]] if sys.argv[1:] else targets
    if not names:
        print(f"nothing to fuzz: the targets are {' '.join(targets)}" if targets else "there are no fuzz targets")
        return 1 if sys.argv[1:] else 0
    build()
    failed = [name for name in names if not fuzz(name, int(os.environ.get("FUZZ_SECONDS", "60")))]
    print(f"fuzzed {', '.join(names)}: {'crashes in ' + ', '.join(failed) if failed else 'nothing found'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
