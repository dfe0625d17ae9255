"""Rows of the operating system: files, processes, threads."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

from measure import SERVER_CORE, run
from row import Row, Target, python


@contextmanager
def directory_of_files(bench, count):
    """Files of 4 KiB named by their numbers, on the disk that the build is on."""
    with tempfile.TemporaryDirectory(prefix="files-", dir=bench.build) as name:
        for number in range(count):
            (Path(name) / str(number)).write_bytes(os.urandom(4096))
        os.sync()
        yield Path(name)


def forget(directory):
    """Drops what the page cache holds: all of it where that is allowed, else these files' contents."""
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        for path in directory.iterdir():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def times(program):
    """CPU time and wall time that the program says it took, in nanoseconds."""
    return map(int, run(program.argv, None, program.env).split())


def files(bench):
    """Not pinned: threads and the kernel's workers may run where they like, and are counted."""
    count, opens, tasks = 1000, 20000, 100
    row = Row("open, read 4 KiB, close, cached, 100 tasks, CPU per file", "us",
              [Target(1.5, "blocking calls"), Target(0.05, "aiofiles")], limit="blocking calls")

    def once(program):
        cpu, _ = times(program)
        return cpu / int(program.argv[3]) / 1000

    with directory_of_files(bench, count) as directory:
        bench.fill(row, {
            **bench.rota("files_rota", directory, count, opens, tasks),
            "blocking calls": bench.program("raw_files", directory, count, opens),
            "aiofiles": python("files_aiofiles.py", directory, count, opens // 10, tasks,
                               module="aiofiles"),
        }, once)
    return [row]


def cold(bench):
    """The device's row: wall time, and few rounds, for caches are dropped before each."""
    count, tasks = 10000, 64
    row = Row("read 10,000 files of 4 KiB, cold, 64 tasks, wall time", "ms",
              [Target(1, "blocking calls")], limit="blocking calls")

    with directory_of_files(bench, count) as directory:
        def once(program):
            forget(directory)
            _, wall = times(program)
            return wall / 1e6

        bench.fill(row, {
            **bench.rota("files_rota", directory, count, count, tasks),
            "blocking calls": bench.program("raw_files", directory, count, count),
        }, once, rounds=min(bench.rounds, 3))
    return [row]


def process(bench):
    """Few rounds: writing to so much memory takes far longer than the spawns. Children share the one core."""
    gigabytes, spawns = 4, 100
    row = Row("spawn /bin/true and wait, parent of 4 GiB", "us",
              [Target(1.2, "posix_spawn, waitpid")], limit="posix_spawn, waitpid")

    def once(program):
        return float(run(program.argv, SERVER_CORE, program.env)) / 1000

    bench.fill(row, {
        "rota": bench.program("spawn_rota", gigabytes, spawns),
        "posix_spawn, waitpid": bench.program("raw_spawn", gigabytes, spawns),
        "Go": bench.go("spawn", gigabytes, spawns, threads=1),
    }, once, choose=min, rounds=min(bench.rounds, 2))
    return [row]


def message(bench):
    row = Row("message between loops on two threads, pipelined", "ns", [Target(150)],
              limit="mutex and condition")

    def once(program):
        return float(run([*program.argv, 1000000], None, program.env))

    bench.fill(row, {
        "rota": bench.program("messages_rota"),
        "mutex and condition": bench.program("raw_messages"),
        "Go": bench.go("micro", "messages", threads=2),
    }, once, choose=min)
    return [row]
