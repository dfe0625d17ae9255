"""open, read 4 KiB, close by aiofiles, many tasks at once; prints CPU and wall time in nanoseconds.

    files_aiofiles.py FOLDER FILES OPENS TASKS
"""

import asyncio
import sys
import time

import aiofiles


async def read_files(folder, numbers):
    for number in numbers:
        async with aiofiles.open(f"{folder}/{number}", "rb", buffering=0) as file:
            if len(await file.read(4096)) != 4096:
                raise ValueError(f"{folder}/{number} is short")


async def main(folder, files, opens, tasks):
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    shares = ((n % files for n in range(task, opens, tasks)) for task in range(tasks))
    await asyncio.gather(*(read_files(folder, share) for share in shares))
    print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall)


asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
