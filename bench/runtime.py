"""Rows of the runtime: nanoseconds an operation on one pinned core, the best of all repeats of all
rounds."""

import re
import shutil
import subprocess

from measure import SERVER_CORE, Failed, progress, progress_done, run
from row import Row, Target

def micro(bench, row, rota, operations, peers, repeats=5, rounds=None):
    programs = {"rota": rota, **peers}

    def once(program):
        return float(run([*program.argv, operations, repeats], SERVER_CORE, program.env))

    bench.fill(row, programs, once, choose=min, rounds=rounds)
    if "rota" in row.figures:
        row.instructions = instructions(rota, row, 100000)
    return [row]


def instructions(program, row, count):
    """Instructions an operation: callgrind's difference between two numbers of operations."""
    if not shutil.which("valgrind"):
        row.missing["instruction count"] = "needs valgrind"
        return None

    def collected(operations):
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
             *map(str, program.argv), str(operations), "1"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120)
        found = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or not found:
            raise Failed(done.stderr.strip().splitlines()[-1] if done.stderr else "no count")
        return int(found.group(1))

    progress(f"{row.work}: counting instructions")
    try:
        return (collected(2 * count) - collected(count)) / count
    except (Failed, subprocess.TimeoutExpired) as error:
        row.missing["instruction count"] = str(error)
        return None
    finally:
        progress_done()


def switch(bench):
    row = Row("raw switch", "ns", [Target(0.75, "Boost.Context")], limit="six registers and a jump")
    return micro(bench, row, bench.program("micro", "switch"), 10000000, {
        "rota by rota_coro_switch": bench.program("micro", "coro"),
        "six registers and a jump": bench.program("raw_switch", needs="x86-64"),
        "Boost.Context": bench.program("boost_switch", needs="libboost-context-dev")})


def go_row(bench, work, name, operations, targets, **options):
    row = Row(work, "ns", targets)
    return micro(bench, row, bench.program("micro", name), operations,
                 {"Go": bench.go("micro", name, threads=1)}, **options)


def yield_(bench):
    return go_row(bench, "yield between ready tasks", "yield", 2000000,
                  [Target(15), Target(0.3, "Go")])


def queue(bench):
    targets = [Target(40), Target(0.4, "Go")]
    return (go_row(bench, "queue message, capacity 0", "queue0", 500000, targets) +
            go_row(bench, "queue message, capacity 64", "queue64", 1000000, targets))


def spawn(bench):
    return go_row(bench, "spawn and join", "spawn", 300000, [Target(60), Target(0.45, "Go")])


def timer(bench):
    """Repeats long enough to hold the sweeps by which Go gets rid of cancelled timers."""
    return go_row(bench, "arm and cancel a timer, a million armed", "timer", 2000000,
                  [Target(60), Target(0.15, "Go")], repeats=2, rounds=min(bench.rounds, 5))


def parked(bench):
    """Memory does not vary from run to run, so once is enough."""
    row = Row("a parked task, guarded, of a million", "KB", [Target(4.8)],
              limit="one page and its tables")

    def once(program):
        return float(run([*program.argv, 1000000])) / 1000

    bench.fill(row, {"one page and its tables": bench.program("raw_stacks"),
                     "rota": bench.program("micro", "parked"),
                     "Go": bench.go("micro", "parked")}, once, rounds=1)
    return [row]


def pool(bench):
    """Threads of a pool are meant to run beside the loop, so nothing is pinned here. Go's goroutines have
    threads of their own, else they would run on that of the caller."""
    many = Row("job through a pool of 2 threads and back", "us", [Target(1), Target(2, "Go, by threads")],
               limit="mutex and condition")
    single = Row("job through a pool and back, one at a time", "us", [Target(2, "Go, by threads")])

    def once_of(operations):
        return lambda program: float(run([*program.argv, operations])) / 1000

    bench.fill(many, {"rota": bench.program("micro", "pool"),
                      "mutex and condition": bench.program("raw_pool"),
                      "Go, by threads": bench.go("micro", "threads"),
                      "Go": bench.go("micro", "pool")}, once_of(100000), choose=min)
    bench.fill(single, {"rota": bench.program("micro", "handover"),
                        "Go, by threads": bench.go("micro", "handover")}, once_of(20000), choose=min)
    return [many, single]
