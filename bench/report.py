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

from row import BEFORE


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
    return {n: v for n, v in row.figures.items() if n not in ("rota", BEFORE, row.limit)}


def changes(rows):
    """Every row's figure over that of the other revision."""
    known = [(ratio(row, BEFORE), row.work) for row in rows]
    return "\n".join(f"{value:.3f} of before: {work}" for value, work in known if value)


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


def topics(rows):
    """The rows by topic, in their order."""
    result = {}
    for row in rows:
        result.setdefault(row.topic, []).append(row)
    return result.items()


def text_rows(lines, widths):
    out = []
    for line in lines:
        for i in range(max(len(cell) for cell in line)):
            parts = [(cell[i] if i < len(cell) else "").ljust(width)
                     for cell, width in zip(line, widths)]
            out.append("  ".join(parts).rstrip())
        out.append("")
    return out


def text_table(rows):
    head = [[title] for title in HEAD]
    table = {topic: [cells(row) for row in of_topic] for topic, of_topic in topics(rows)}
    for lines in table.values():
        for line in lines:
            line[0] = textwrap.wrap(line[0][0], 28)
    everything = [head, *(line for lines in table.values() for line in lines)]
    widths = [max(len(text) for line in everything for text in line[column])
              for column in range(len(HEAD))]
    out = text_rows([head], widths)[:1]
    for topic, lines in table.items():
        rule = f"-- {topic} "
        out += [rule.ljust(sum(widths) + 2 * (len(widths) - 1), "-")] + text_rows(lines, widths)
    missing = absent(rows)
    if missing:
        out += ["Without a figure:"] + [f"  {line}" for line in missing]
    return "\n".join(out).rstrip()


def markdown_tables(rows):
    out = []
    for topic, of_topic in topics(rows):
        out += [f"## {topic}", "", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
        out += ["| " + " | ".join("<br>".join(cell) for cell in cells(row)) + " |"
                for row in of_topic]
        out.append("")
    return out


def first_line(*argv):
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip().splitlines()[0]
    except (OSError, IndexError):
        return None


AIOFILES = "from importlib.metadata import version; print(version('aiofiles'))"


def versions():
    """What the peers are, of those that are there, as short as can be."""
    sbin = os.environ.get("PATH", "") + ":/usr/sbin"
    said = [("Go", first_line("go", "version")),
            ("libuv", first_line("pkg-config", "--modversion", "libuv")),
            ("OpenSSL", first_line("openssl", "version")),
            ("HAProxy", first_line(shutil.which("haproxy", path=sbin) or "haproxy", "-v")),
            ("nginx", first_line(shutil.which("nginx", path=sbin) or "nginx", "-v")),
            ("aiofiles", first_line("/usr/bin/python3", "-c", AIOFILES))]
    numbers = [(name, text and re.search(r"\d+\.[\d.]+\S*", text)) for name, text in said]
    return ", ".join(f"{name} {number.group()}" for name, number in numbers if number)


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
programs run in turn, {rounds} rounds, and the median counts. Loads are plain epoll loops that compare
every byte: `bench/load.c`, `bench/tls_load.c`, `bench/udp_load.c`. The proxy stands between wrk and
nginx, which serves a page of 4 KB. HTTP rows: wrk, and h2load for HTTP/2; nginx with `return 200` and sendfile;
the raw program answers each read with the same bytes and parses nothing. WebSocket has both of Go's
packages that are in use, message by message: golang.org/x/net (the target) and gorilla. Idle connections: resident
memory and page tables of the server (`/proc/PID/status`), between the hundredth connection and the last.

TLS is 1.3 with AES-128-GCM, X25519 and an ECDSA certificate on P-256. A connection of the handshake rows
is accepted, makes its handshake, echoes a byte and is closed by close_notify on both sides; 1.05 of the
CPU time are 0.95 of the handshakes a CPU second. The raw program reads ahead, the faster of OpenSSL's two
ways. UDP has four datagrams under way on each of 16 sockets.

Tasks and threads: nanoseconds an operation, the best of several repeats in each of the rounds, on one
pinned core where one thread does the work; beside it the instructions an operation, by callgrind. Go runs
with GOMAXPROCS=1 wherever it is held to one core.

Go by threads: its goroutines are locked to threads, so that a job changes threads as it does in a pool. One job at a
time, that costs Go many times as much as a pool. With 256 under way it costs half of a pool or less: Go's channel takes
a job in user space while its threads are awake. The limit, a queue with a mutex and a condition, costs what a pool does.

Files: the CPU time of all threads of the process, the kernel's workers for a ring among them. The cold
row is wall time of whole runs, after the page cache was dropped (`/proc/sys/vm/drop_caches`, or each file
by `posix_fadvise` where that is not allowed). Children are spawned one after the other on the parent's
core; the parent has written to all of its memory.

The *limit* is the shortest hand-written C program that does the same work.

libuv is measured in three forms. *Guide's server* is the echo server of libuv's guide and of its own
tests: it allocates a buffer of the size that libuv suggests, 64 KiB, for each read, hands it on to
`uv_write` and frees it when that is done; with many connections malloc then gives memory back to the
kernel and gets it again in every turn, about a page fault a request. *Buffers kept* spares that by a
buffer a client, from which `uv_write` gets a copy. *uv_try_write* is the least that libuv can be asked
to do. The target is measured against the first; the other two have their ratios in the chart.

*asyncio, malloc tuned* keeps malloc from mapping and unmapping asyncio's 256 KiB read buffer each time.

A ratio is rota's figure over the other's: less is better.
"""


def markdown(rows, command, rounds):
    missing = absent(rows)
    return "\n".join([
        "# Benchmarks", "",
        f"Measured {date.today().isoformat()} on {machine()}, by `{command}`; {versions()}.", "",
        "![rota's cost over that of others](benchmarks.svg)", "",
        *markdown_tables(rows),
        *(["Without a figure:", ""] + [f"- {line}" for line in missing] + [""] if missing else []),
        "## How", "", METHOD.format(rounds=rounds)])


# The chart: a bar for each program that a row compares rota with, its length rota's share of that
# program's cost; a mark where the target is. What passes the right edge is cut and says its number.

LABEL, SCALE, WIDTH, BAR, GAP, EDGE = 250, 320, 800, 14, 4, 1.55


def bar(y, name, value, bound):
    length = min(value, EDGE) * SCALE
    colour = "#2f6fab" if bound is None or value <= bound else "#c2503a"
    parts = [f'<text x="{LABEL - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
             f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>']
    if bound is not None:
        x = LABEL + min(bound, EDGE) * SCALE
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 2}" y2="{y + BAR + 2}" '
                     'stroke="#222" stroke-width="2"/>')
    after = LABEL + max(length, min(bound or 0, EDGE) * SCALE) + 6
    parts.append(f'<text x="{after:.1f}" y="{y + 11}">{value:.2f}</text>')
    return parts


def chart(rows):
    body, y, topic = [], 48, None
    for row in rows:
        bounds = {t.against: t.bound for t in row.targets if t.against}
        names = [n for n in row.figures if n != "rota" and not n.startswith("rota ")]
        if "rota" not in row.figures or not names:
            continue
        if row.topic != topic:
            topic = row.topic
            body.append(f'<text x="8" y="{y + 14}" font-size="14" fill="#2f6fab">{escape(topic)}</text>')
            y += 26
        own = f"{row.work}: {figure(row.figures['rota'], row.unit)}"
        body.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(own)}</text>')
        y += 20
        for name in names:
            body += bar(y, name, ratio(row, name), bounds.get(name))
            y += BAR + GAP
        y += 10
    grid = []
    for tick in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5):
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
