"""GETs of one URL by aiohttp on uvloop, many tasks at once; prints CPU and wall time in nanoseconds.

    http_client_aiohttp.py URL REQUESTS TASKS
"""

import asyncio
import sys
import time

import aiohttp
import uvloop


async def get(session, url, share):
    for _ in range(share):
        async with session.get(url) as response:
            if response.status != 200 or not await response.read():
                raise ValueError("another answer")


async def main(url, requests, tasks):
    async with aiohttp.ClientSession() as session:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        await asyncio.gather(*(get(session, url, requests // tasks) for _ in range(tasks)))
        print(time.process_time_ns() - cpu, time.perf_counter_ns() - wall)


uvloop.install()
asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
