#!/usr/bin/env python3
"""Measures rota against its peers.

Usually by `./dev bench [NAME...]`. Prints a table of figures, ratios and targets; docs/benchmarks.md and
docs/benchmarks.svg are written after a run of all rows, or when --write asks for it.
"""

import argparse
import sys
import time
from pathlib import Path

import report
from measure import Failed, progress_done
from row import Bench
from rows import ROWS, measure

ROOT = Path(__file__).resolve().parent.parent


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build-bench", help="directory in which rota was built")
    parser.add_argument("--before", metavar="DIR",
                        help="also measure the build of another revision in DIR, as `rota before`")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of each row (default 7)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.* in any case")
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(ROWS))
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {' '.join(unknown)} (there are: {' '.join(ROWS)})")
    for build in filter(None, (args.build, args.before)):
        if not (Path(build) / "bench").is_dir():
            parser.error(f"{build}/bench is missing: build with -Dbench=true first")
    return args


def main():
    args = arguments()
    bench = Bench(args.build, args.rounds, args.before)
    start = time.monotonic()
    rows = []
    try:
        bench.build_go()
        for name in args.names or ROWS:
            rows += measure(bench, name)
    except (KeyboardInterrupt, Failed) as stopped:
        progress_done()
        print(f"stopped: {stopped or 'interrupted'}", file=sys.stderr)
        print(report.text_table(rows))
        return 1

    print(report.text_table(rows))
    print(f"\n{report.machine()}; {time.monotonic() - start:.0f} s")
    if args.before:
        print("\n" + report.changes(rows))
    complete = not args.names and all("rota" in row.figures for row in rows)
    if complete or args.write:
        command = " ".join(["./dev bench", *args.names])
        docs = ROOT / "docs"
        docs.mkdir(exist_ok=True)
        (docs / "benchmarks.md").write_text(report.markdown(rows, command, args.rounds))
        (docs / "benchmarks.svg").write_text(report.chart(rows))
        print("written: docs/benchmarks.md, docs/benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
