"""The example chat room: with many members, with one that does not read, stopped, and in a browser.

usage: wschat_test.py WSCHAT [WORD...]     cases whose names contain one of the words

See native.py.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import urllib.request

from native import (LIMIT, Program, Skipped, case, check, free_port, is_refused, programs, run_cases,
                    temporary_directory, tool, unprivileged, wait_until)

try:
    import websockets
except ImportError:
    websockets = None

WSCHAT, = programs(1)
SAY, READ = "#text", "#lines"
ENTER = "\ue007"
MEMBERS = 200


class Room(Program):
    """wschat, and its address."""

    def __init__(self):
        super().__init__(WSCHAT, "0", seconds=4 * LIMIT, errors=subprocess.PIPE, **unprivileged())
        self.page = self.line().strip()

    def enter(self, **options):
        if not websockets:
            raise Skipped("there is no python3-websockets")
        return websockets.connect(self.page.replace("http", "ws") + "chat", open_timeout=LIMIT, close_timeout=LIMIT,
                                  ping_interval=None, max_queue=None, **options)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, complaints = self.process.communicate(timeout=LIMIT)
        check(self.process.returncode == 0 and not complaints, self.process.returncode, complaints)

    def stop_while_members_answer(self):
        return asyncio.get_running_loop().run_in_executor(None, self.stop)


def chat(function):
    """Makes a case of a coroutine that is given a room."""
    def in_room():
        with Room() as room:
            asyncio.run(asyncio.wait_for(function(room), 2 * LIMIT))
    in_room.__name__ = function.__name__
    return case(in_room)


async def hear(member, *endings):
    """The lines up to the one that ends so."""
    lines = []
    while not lines or not lines[-1].endswith(endings):
        lines.append(await member.recv())
    return lines


# ---- Members

@chat
async def who_comes_late_sees_what_was_said_and_who_leaves(room):
    async with room.enter() as first:
        await hear(first, "guest 1 joins")
        await first.send("Grüße, 世界")
        await hear(first, "guest 1: Grüße, 世界")
        async with room.enter() as second:
            check(await hear(second, "guest 2 joins") == ["guest 1 joins", "guest 1: Grüße, 世界", "guest 2 joins"])
        check(await hear(first, " leaves") == ["guest 2 joins", "guest 2 leaves"])


@chat
async def many_come_at_once_and_hear_all_that_is_said(room):
    async with contextlib.AsyncExitStack() as stack:
        members = await asyncio.gather(*(stack.enter_async_context(room.enter()) for _ in range(MEMBERS)))
        await members[0].send("is everybody here?")
        await asyncio.gather(*(hear(member, ": is everybody here?") for member in members))
        for number, speaker in enumerate(members[:5]):
            await speaker.send(f"line {number}")
            for lines in await asyncio.gather(*(hear(member, f": line {number}") for member in members)):
                check(len(lines) == 1, lines)
        stopped = room.stop_while_members_answer()
        for member in members:
            await member.wait_closed()
            check(member.close_code == 1001, member.close_code)
        await stopped


@chat
async def who_does_not_read_is_dropped_and_the_others_do_not_wait(room):
    async with room.enter(compression=None) as speaker, room.enter() as listener:
        deaf = await room.enter(compression=None)
        await hear(speaker, "guest 3 joins")
        deaf.transport.pause_reading()
        lines, said = [], 0
        while not any(line.endswith(" leaves") for line in lines):
            for said in range(said + 1, said + 21):
                await speaker.send(f"{said} " + "x" * 1900)
            lines = await hear(speaker, f": {said} " + "x" * 1900)
        check(said > 1000, "dropped after", said)
        await hear(listener, f": {said} " + "x" * 1900)
        deaf.transport.resume_reading()
        await deaf.wait_closed()
        check(deaf.close_code in (1001, 1006), deaf.close_code)


@chat
async def who_says_too_much_or_nonsense_leaves_and_no_other(room):
    async with room.enter() as stays:
        for said, code in ("x" * 2001, 1009), (b"\xff", None):
            async with room.enter() as member:
                await hear(stays, " joins")
                await member.send(said)
                if code:
                    await member.wait_closed()
                    check(member.close_code == code, member.close_code)
            await hear(stays, " leaves")


@chat
async def stops_in_time_though_one_does_not_answer(room):
    async with room.enter() as answers:
        deaf = await room.enter()
        await hear(answers, "guest 2 joins")
        deaf.transport.pause_reading()
        stopped = room.stop_while_members_answer()
        await answers.wait_closed()
        check(answers.close_code == 1001, answers.close_code)
        await stopped
        deaf.transport.abort()


# ---- A browser

class Browser:
    """Chromium without a screen, told what to do by WebDriver (W3C recommendation)."""

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        with self.stack:
            directory = self.stack.enter_context(temporary_directory())
            chromium, port = tool("chromium"), free_port()
            self.url = f"http://127.0.0.1:{port}/session"
            driver = subprocess.Popen([tool("chromedriver"), f"--port={port}"], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
                                      env={**os.environ, "HOME": str(directory), "TMPDIR": str(directory)},
                                      **unprivileged())
            self.stack.callback(self.end, driver)
            wait_until(lambda: not is_refused(port), "chromedriver takes no connections")
            options = {"binary": chromium, "args": ["--headless=new", "--no-sandbox", "--disable-gpu",
                                                    "--disable-dev-shm-usage", f"--user-data-dir={directory}/profile"]}
            made = self.ask("POST", "", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
            self.url += "/" + made["sessionId"]
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *_):
        with self.stack, contextlib.suppress(OSError):
            self.ask("DELETE", "")

    @staticmethod
    def end(driver):
        """With what it started, which is in its process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=4 * LIMIT) as answer:
            return json.load(answer)["value"]

    def open(self, page):
        window = self.ask("POST", "/window/new", {"type": "window"})["handle"]
        self.switch(window)
        self.ask("POST", "/url", {"url": page})
        return window

    def switch(self, window):
        self.ask("POST", "/window", {"handle": window})

    def element(self, selector):
        return "/element/" + next(iter(
            self.ask("POST", "/element", {"using": "css selector", "value": selector}).values()))

    def type(self, selector, text):
        self.ask("POST", self.element(selector) + "/value", {"text": text})

    def text(self, selector):
        return self.ask("GET", self.element(selector) + "/text")

    def await_text(self, selector, text):
        wait_until(lambda: text in self.text(selector), f"no {text!r} in the page")


@case
def two_windows_of_a_browser_chat():
    with Room() as room, Browser() as browser:
        windows = [browser.open(room.page) for _ in range(2)]
        for number, window in enumerate(windows):
            browser.switch(window)
            browser.await_text("#state", "connected")
            browser.type(SAY, f"<b>Grüße</b> aus {number}" + ENTER)
        for window in windows:
            browser.switch(window)
            for number in range(2):
                browser.await_text(READ, f": <b>Grüße</b> aus {number}")
        room.stop()
        browser.await_text("#state", "connecting")


if __name__ == "__main__":
    run_cases()
