"""open, read 4 KiB, close by aiofiles, many tasks at once; prints CPU and wall time in nanoseconds.

    files_aiofiles.py DIRECTORY FILES OPENS TASKS
"""

import asyncio
import sys
import time

import aiofiles


async def read_files(directory, numbers):
    for number in numbers:
        async with aiofiles.open(f"{directory}/{number}", "rb", buffering=0) as file:
            if len(await file.read(4096)) != 4096:
                raise ValueError(f"{directory}/{number} is short")


async def main(directory, files, opens, tasks):
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    shares = ((n % files for n in range(task, opens, tasks)) for task in range(tasks))
    await asyncio.gather(*(read_files(directory, share) for share in shares))
    print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall)


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
