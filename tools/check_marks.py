#!/usr/bin/env python3
"""Compares the marks in the headers with what the compiled library can reach.

    tools/check_marks.py BUILD            checks the objects of a build directory, prints each violation
    tools/check_marks.py --stops FILE     the same for what tests/suspensions.h has written; lists what did not suspend

A public function that can come to a place where a task stops has to be marked ROTA_SUSPENDS or
ROTA_SUSPENDS_SHIELDED: between two marked calls no other task runs. One that is marked has to be able to come there,
or to call through a pointer (filters, generators, handlers).

The second half is what really happened: which public functions were on the stack of a task when it stopped.
"""

import re
import subprocess
import sys
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
STOPS = {"rota__park", "rota__yield", "fiber_stop"}
# What can come there as the compiler sees it, and does not.
EXCEPT = {
    "rota_channel_try_receive": "shares the code of rota_channel_receive, and is told not to wait",
    "rota_channel_try_send": "shares the code of rota_channel_send, and is told not to wait",
    "rota_pipe": "closes, where it fails, a stream on which nothing is under way",
    "rota_stream_from_fd": "closes, where it fails, a stream on which nothing is under way",
    "rota_stream_pair": "closes, where it fails, a stream on which nothing is under way",
}
CALL = re.compile(r"^\s+[0-9a-f]+:\s+(?:notrack |bnd )?(call|j\w+)\s+(.*)$")
RELOCATION = re.compile(r"^\s+[0-9a-f]+: R_\S+\s+(\S+)")


def plain(symbol):
    """A symbol without what the compiler and the linker add to it."""
    return re.sub(r"\.(?:cold|part|isra|constprop|lto_priv)[.\d]*", "", re.sub(r"[@+-].*", "", symbol))


def calls_of(directory):
    """{function: functions that it calls or jumps to}, and the functions that call through pointers."""
    calls, by_pointer = defaultdict(set), set()
    objects = [o for o in directory.rglob("*.o") if o.parent.name.startswith("librota") or
               o.parent.name.startswith("libhttp")]
    for path in sorted(objects):
        listing = subprocess.run(["objdump", "-dr", "--no-show-raw-insn", path], check=True,
                                 stdout=subprocess.PIPE, text=True).stdout
        function = branches = None
        for line in listing.splitlines():
            if head := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
                function, branches = plain(head[1]), False
            elif call := CALL.match(line):
                branches = True
                target = re.search(r"<([^>]+)>", call[2])
                if target and not call[2].startswith("*"):
                    calls[function].add(plain(target[1]))
                elif call[2].startswith("*") and "rip" not in call[2]:
                    by_pointer.add(function)
            elif relocation := RELOCATION.match(line):
                if branches:
                    calls[function].add(plain(relocation[1]))
            else:
                branches = False
    return calls, by_pointer


def reaching(targets, calls):
    callers = defaultdict(set)
    for function, called in calls.items():
        for name in called:
            callers[name].add(function)
    found, todo = set(targets), list(targets)
    while todo:
        for function in callers[todo.pop()] - found:
            found.add(function)
            todo.append(function)
    return found


def marks():
    """{public function: its mark}"""
    found = {}
    for header in sorted((ROOT / "include/rota").glob("*.h")):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
        for match in re.finditer(r"^(ROTA_API|ROTA_SUSPENDS(?:_SHIELDED(?:_RESULT)?)?)\s[^;{(]*?\b(rota_\w+)\(", text, re.MULTILINE):
            found[match[2]] = match[1]
    return found


def violations(directory):
    calls, by_pointer = calls_of(directory)
    stops, pointers = reaching(STOPS, calls), reaching(by_pointer, calls)
    if "rota_sleep" not in stops or "rota_queue_try_get" in stops:
        return [f"{directory}: the objects tell nothing"]
    found = []
    for function, mark in sorted(marks().items()):
        if mark == "ROTA_API" and function in stops and function not in EXCEPT:
            found.append(f"{function} may suspend and is not marked")
        if mark != "ROTA_API" and function in calls and function not in stops | pointers:
            found.append(f"{function} is marked {mark} and never suspends")
    found += [f"{function} needs no exception any more" for function in sorted(set(EXCEPT) - stops)]
    return found


def symbols(program):
    """The addresses of a program's functions, ascending, and their names."""
    lines = subprocess.run(["nm", "-n", "--defined-only", program], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.split("\n")
    rows = [line.split() for line in lines]
    start = next(int(row[0], 16) for row in rows if row[2:] == ["__executable_start"])
    functions = [(int(row[0], 16) - start, row[2]) for row in rows if len(row) == 3 and row[1] in "tTwW"]
    return [at for at, _ in functions], [plain(name) for _, name in functions]


def suspended(lines):
    """{public function: a program in which it was on the stack of a task that stopped}"""
    offsets, found = defaultdict(set), {}
    for line in lines:
        program, offset = line.rsplit(maxsplit=1)
        offsets[program].add(int(offset, 16))
    for program, some in offsets.items():
        starts, names = symbols(program)
        for offset in some:
            # A return address is behind its call, which may be a function's last instruction.
            place = bisect_right(starts, offset - 1) - 1
            if place >= 0 and names[place].startswith("rota_"):
                found[names[place]] = Path(program).name
    return found


def unmarked(lines):
    """The violations among what tests/suspensions.h has written."""
    found, mark = suspended(lines), marks()
    if "rota_sleep" not in found and "rota_sleep_until" not in found:
        return ["the programs have written nothing down"]
    return [f"{name} has suspended in {program} and is not marked" for name, program in sorted(found.items())
            if mark.get(name) == "ROTA_API"]


if __name__ == "__main__":
    if sys.argv[1] == "--stops":
        noted = Path(sys.argv[2]).read_text().splitlines()
        problems = unmarked(noted)
        seen = suspended(noted)
        print("not seen to suspend:", *sorted(n for n, m in marks().items() if m != "ROTA_API" and n not in seen))
    else:
        problems = violations(Path(sys.argv[1]))
    print("\n".join(problems))
    sys.exit(bool(problems))
