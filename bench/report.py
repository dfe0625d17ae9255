"""Verdicts on the targets, and the table as text, as Markdown and as a chart."""

import os
import platform
import re
import shutil
import subprocess
import textwrap
from dataclasses import dataclass
from datetime import date
from xml.sax.saxutils import escape


@dataclass
class Verdict:
    wanted: str
    got: str
    met: bool | None  # None: it could not be told


def figure(value, unit):
    if value is None:
        return "-"
    return f"{value:.2f} {unit}" if value < 100 else f"{value:.0f} {unit}"


def ratio(row, against):
    """rota's figure over another program's; None when one of the two is missing."""
    if "rota" not in row.figures or not row.figures.get(against):
        return None
    return row.figures["rota"] / row.figures[against]


def verdicts(row):
    result = []
    for target in row.targets:
        if target.against is None:
            wanted, value = f"at most {target.bound:g} {row.unit}", row.figures.get("rota")
            got = figure(value, row.unit)
        else:
            wanted, value = f"at most {target.bound:g} of {target.against}", ratio(row, target.against)
            got = "-" if value is None else f"{value:.2f}"
        result.append(Verdict(wanted, got, None if value is None else value <= target.bound))
    return result


def met_word(met):
    return {True: "yes", False: "NO", None: "not measured"}[met]


def peers(row):
    return {n: v for n, v in row.figures.items() if n not in ("rota", row.limit)}


def absent(rows):
    """Every program that has no figure, once, with the reason."""
    seen = {}
    for row in rows:
        for name, why in row.missing.items():
            seen.setdefault((name, why), []).append(row.work)
    return [f"{name}: {why} ({'; '.join(works)})" for (name, why), works in seen.items()]


HEAD = ["work", "rota", "instr.", "limit", "peers", "target", "ratio or figure", "met"]


def cells(row):
    """One list of lines a column."""
    results = verdicts(row)
    instructions = "-" if row.instructions is None else f"{row.instructions:.0f}"
    limit = [figure(row.figures[row.limit], row.unit), row.limit] if row.limit in row.figures else ["-"]
    gone = [f"{name}: absent" for name in row.missing if name != "instruction count"]
    return [[row.work], [figure(row.figures.get("rota"), row.unit)], [instructions], limit,
            [f"{n} {figure(v, row.unit)}" for n, v in peers(row).items()] + gone or ["-"],
            [v.wanted for v in results], [v.got for v in results],
            [met_word(v.met) for v in results]]


def text_table(rows):
    table = [[[title] for title in HEAD]] + [cells(row) for row in rows]
    for line in table:
        line[0] = textwrap.wrap(line[0][0], 28)
    widths = [max(len(text) for line in table for text in line[column])
              for column in range(len(HEAD))]
    out = []
    for number, line in enumerate(table):
        for i in range(max(len(cell) for cell in line)):
            parts = [(cell[i] if i < len(cell) else "").ljust(width)
                     for cell, width in zip(line, widths)]
            out.append("  ".join(parts).rstrip())
        if number == 0:
            out.append("  ".join("-" * width for width in widths))
        elif number + 1 < len(table):
            out.append("")
    missing = absent(rows)
    if missing:
        out += ["", "Without a figure:"] + [f"  {line}" for line in missing]
    return "\n".join(out)


def markdown_table(rows):
    out = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in rows:
        out.append("| " + " | ".join("<br>".join(cell) for cell in cells(row)) + " |")
    return "\n".join(out)


def first_line(*argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def versions():
    sbin = os.environ.get("PATH", "") + ":/usr/sbin"
    found = [first_line("go", "version"), first_line("pkg-config", "--modversion", "libuv"),
             first_line(shutil.which("haproxy", path=sbin) or "haproxy", "-v"),
             first_line(shutil.which("nginx", path=sbin) or "nginx", "-v")]
    go, uv, haproxy, nginx = found
    short = [go and go.replace("go version go", "Go "), uv and f"libuv {uv}",
             haproxy and re.sub(r"^HAProxy version (\S+).*", r"HAProxy \1", haproxy),
             nginx and nginx.replace("nginx version: nginx/", "nginx ")]
    return ", ".join(name for name in short if name)


def machine():
    model = platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            model = re.search(r"model name\s*: (.*)", f.read()).group(1)
    except (OSError, AttributeError):
        pass
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release().split('-')[0]}"


METHOD = """\
Servers: CPU time of the server process a request (`/proc/PID/task/*/schedstat`), because on a shared
machine throughput swings several times as far. The server has core 0, the load core 1; the compared
programs run in turn, {rounds} rounds, and the median counts. The echo load is `bench/load.c`, a plain
epoll loop that compares every byte; the proxy stands between wrk and nginx, which serves a page of 4 KB.

Micro rows: nanoseconds an operation on one pinned core, the best of several repeats in each of
the rounds; beside it the instructions an operation, by callgrind. Go runs with GOMAXPROCS=1 wherever it is
held to one core, which is everywhere but in the rows of the pool and of the parked tasks.

The *limit* is the shortest hand-written C program that does the same work. `libuv` sends by
`uv_write`, as its guide does; `uv_try_write` is the least that it can be asked to do. `asyncio, malloc
tuned` keeps malloc from mapping and unmapping asyncio's 256 KiB read buffer each time.

A ratio is rota's figure over the other's: less is better.
"""


def markdown(rows, command, rounds):
    missing = absent(rows)
    return "\n".join([
        "# Benchmarks", "",
        f"Measured {date.today().isoformat()} on {machine()}, by `{command}`; {versions()}.", "",
        "![rota's cost over that of others](benchmarks.svg)", "",
        markdown_table(rows), "",
        *(["Without a figure:", ""] + [f"- {line}" for line in missing] + [""] if missing else []),
        "## How", "", METHOD.format(rounds=rounds)])


# The chart: a bar for each program that a row compares rota with, its length rota's share of that
# program's cost; a mark where the target is. What passes the right edge is cut and says its number.

LABEL, SCALE, WIDTH, BAR, GAP, EDGE = 250, 400, 800, 14, 4, 1.25


def bar(y, name, value, bound):
    length = min(value, EDGE) * SCALE
    colour = "#2f6fab" if bound is None or value <= bound else "#c2503a"
    parts = [f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
             f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>']
    if bound is not None:
        x = LABEL + bound * SCALE
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + BAR + 2}" '
                     'stroke="#222" stroke-width="2"/>')
    after = LABEL + max(length, (bound or 0) * SCALE) + 6
    parts.append(f'<text x="{after:.1f}" y="{y + 11}">{value:.2f}</text>')
    return parts


def chart(rows):
    body, y = [], 48
    for row in rows:
        bounds = {t.against: t.bound for t in row.targets if t.against}
        names = [n for n in row.figures if n != "rota" and not n.startswith("rota ")]
        if "rota" not in row.figures or not names:
            continue
        own = f"{row.work}: {figure(row.figures['rota'], row.unit)}"
        body.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(own)}</text>')
        y += 20
        for name in names:
            body += bar(y, name, ratio(row, name), bounds.get(name))
            y += BAR + GAP
        y += 10
    grid = []
    for tick in (0, 0.25, 0.5, 0.75, 1.0):
        x = LABEL + tick * SCALE
        grid.append(f'<line x1="{x}" x2="{x}" y1="40" y2="{y}" '
                    f'stroke="{"#888" if tick == 1 else "#ddd"}"/>')
        grid.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle" fill="#555">{tick:g}</text>')
    title = "rota's cost over the cost of each other program (less is better; black mark: target)"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 24}" '
        f'viewBox="0 0 {WIDTH} {y + 24}" font-family="sans-serif" font-size="12" fill="#222">',
        f'<rect width="{WIDTH}" height="{y + 24}" fill="#fff"/>',
        f'<text x="8" y="22" font-size="14">{escape(title)}</text>',
        *grid, *body, "</svg>", ""])
