#!/usr/bin/env python3
"""The example proxy between real programs: nginx and curl, nginx and wrk, redis-server and redis-benchmark.

usage: proxy_test.py PROXY [WORD...]     cases whose names contain one of the words

See native.py.
"""

import contextlib
import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from native import (LIMIT, SCALE, Skipped, case, check, free_port, is_refused, nginx, programs, read_all, run, run_cases,
                    server, temporary_directory, tool, unprivileged, wait_until)

PROXY, = programs(1)
PAGES = Path(__file__).resolve().parent.parent / "build-pages"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def documentation():
    """The directory of a Debian documentation package, and the paths of the files in it."""
    root = next(PAGES.glob("usr/share/doc/*/html"), None)
    if not root:
        raise Skipped("no documentation package: ./dev test downloads one")
    return root, sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@contextlib.contextmanager
def served(root):
    """nginx with the tree copied to where an unprivileged user can read it."""
    with temporary_directory() as directory:
        pages = shutil.copytree(root, directory / "pages", ignore_dangling_symlinks=True)
        with nginx(directory, pages, "keepalive_requests 1000000;") as port:
            yield port


# ---- The proxy

class Proxy:
    def __init__(self, target, *options, listen="127.0.0.1:0"):
        self.process = subprocess.Popen(
            [PROXY, listen, target if isinstance(target, str) else f"127.0.0.1:{target}",
             *[str(o) for o in options]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            **unprivileged())
        line = self.process.stdout.readline()
        check(line.startswith("port "), "the proxy did not start:", line, self.process.poll())
        self.port = int(line.split()[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)
        s.settimeout(LIMIT)
        return s

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def interrupt(self, number=signal.SIGINT):
        self.process.send_signal(number)

    def end(self):
        """Waits for the end; returns the statistics and what was complained about."""
        out, err = self.process.communicate(timeout=LIMIT)
        check(self.process.returncode == 0, "the proxy exited with", self.process.returncode, out, err)
        numbers = re.fullmatch(r"(\d+) connections: (\d+) failed to connect, (\d+) idle too long, (\d+) broken off\n"
                               r"(\d+) bytes to the target, (\d+) back\n", out)
        check(numbers, "no statistics:", out, err)
        names = ("connections", "failed", "idle", "broken", "sent", "received")
        return dict(zip(names, map(int, numbers.groups()))), err

    def stop(self):
        self.interrupt()
        return self.end()


@contextlib.contextmanager
def target(serve=None, backlog=100):
    """A listening socket; with `serve`, a thread calls that for each connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as listener:
        def accept():
            with contextlib.suppress(OSError):
                while True:
                    s, _ = listener.accept()
                    s.settimeout(LIMIT)
                    threading.Thread(target=serve, args=(s,), daemon=True).start()
        if serve:
            threading.Thread(target=accept, daemon=True).start()
        yield listener
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def port_of(listener):
    return listener.getsockname()[1]


def echo(s):
    with s, contextlib.suppress(OSError):
        while piece := s.recv(65536):
            s.sendall(piece)


# ---- Real programs

@case
def curl_gets_every_file_as_it_is_on_disk():
    root, files = documentation()
    with served(root) as port, Proxy(port) as proxy, temporary_directory() as directory:
        config = "".join(f'url = "http://127.0.0.1:{proxy.port}/{name}"\noutput = "{directory}/{name}"\n'
                         for name in files)
        (directory / "curl.conf").write_text(config)
        run(tool("curl"), "--fail", "--silent", "--show-error", "--create-dirs", "--parallel", "--no-progress-meter",
            "-K", directory / "curl.conf")
        for name in files:
            check((directory / name).read_bytes() == (root / name).read_bytes(), name, "differs")
        statistics, complaints = proxy.stop()
        check(len(files) > 100, "only", len(files), "files")
        check(statistics["received"] >= sum((root / name).stat().st_size for name in files), statistics)
        check(statistics["failed"] == statistics["broken"] == 0 and not complaints, statistics, complaints)


@case
def wrk_sees_no_error():
    root, files = documentation()
    with served(root) as port, Proxy(port) as proxy, temporary_directory() as directory:
        before = proxy.descriptors()
        pages = ",".join(f'"/{name}"' for name in files if name.endswith(".html"))
        (directory / "pages.lua").write_text(f"""local pages, i = {{{pages}}}, 0
request = function() i = i % #pages + 1; return wrk.format("GET", pages[i]) end
""")
        text = run(tool("wrk"), "-t1", "-c50", "-d1s", "-s", directory / "pages.lua", f"http://127.0.0.1:{proxy.port}")
        check("Socket errors" not in text and "Non-2xx" not in text, text)
        check(int(re.search(r"(\d+) requests in", text).group(1)) > 100, text)
        wait_until(lambda: proxy.descriptors() == before, "descriptors are left open")
        statistics, complaints = proxy.stop()
        check(statistics["connections"] >= 50 and statistics["failed"] == 0 and not complaints, statistics, complaints)


@case
def redis_benchmark_sees_no_error():
    port = free_port()
    with temporary_directory() as directory, \
            server([tool("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", directory], port), \
            Proxy(port) as proxy:
        for options in (["-t", "ping,incr,lrange_100", "-n", 10000], ["-t", "set,get", "-n", 50000, "-P", 16],
                        ["-t", "set,get", "-n", 2000, "-d", 50000]):
            text = run(tool("redis-benchmark"), "-p", proxy.port, "-c", 50, "-q", *options)
            check("rror" not in text and "requests per second" in text, text)
        statistics, complaints = proxy.stop()
        check(statistics["failed"] == 0 and not complaints, statistics, complaints)


@case
def interrupt_under_load_stops_with_statistics():
    root, files = documentation()
    with served(root) as port, Proxy(port, "--grace", 0.3) as proxy:
        page = next(name for name in files if name.endswith(".html"))
        wrk = subprocess.Popen([tool("wrk"), "-t1", "-c50", "-d60s", f"http://127.0.0.1:{proxy.port}/{page}"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: proxy.descriptors() > 100, "wrk does not connect")
            start = time.monotonic()
            statistics, _ = proxy.stop()
            check(0.3 <= time.monotonic() - start < 0.3 + 3 * SCALE, "it took", time.monotonic() - start)
            check(statistics["connections"] >= 50 and statistics["received"] > 0, statistics)
            check(statistics["broken"] >= 1, statistics)
        finally:
            wrk.kill()
            wrk.wait()


# ---- What goes through

@case
def no_byte_is_lost_either_way_when_one_side_is_slow():
    data, sent, looks = random.Random(1).randbytes(8 << 20), [], []
    with target(echo) as listener, Proxy(port_of(listener)) as proxy, proxy.connect() as s:
        def send():
            for start in range(0, len(data), 65536):
                s.sendall(data[start:start + 65536])
                sent.append(start)
            s.shutdown(socket.SHUT_WR)

        def nothing_more_goes_in():
            looks.append(len(sent))
            return len(looks) > 5 and 0 < looks[-5] == looks[-1]
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        wait_until(nothing_more_goes_in, "the buffers do not fill")
        check(read_all(s) == data, "the echo differs")
        sender.join()
        s.close()
        statistics, _ = proxy.stop()
        check(statistics["sent"] == statistics["received"] == len(data), statistics)
        check(statistics["broken"] == 0, statistics)


@case
def client_that_ends_its_side_still_gets_the_answer():
    def count(s):
        with s:
            s.sendall(b"%d bytes" % len(read_all(s)))
    with target(count) as listener, Proxy(port_of(listener)) as proxy, proxy.connect() as s:
        s.sendall(b"x" * 100000)
        s.shutdown(socket.SHUT_WR)
        check(read_all(s) == b"100000 bytes")
        statistics, _ = proxy.stop()
        check(statistics["broken"] == 0, statistics)


@case
def target_that_ends_its_side_still_hears_the_client():
    heard, done = [], threading.Event()

    def bye(s):
        with s:
            s.sendall(b"bye")
            s.shutdown(socket.SHUT_WR)
            heard.append(read_all(s))
            done.set()
    with target(bye) as listener, Proxy(port_of(listener)) as proxy, proxy.connect() as s:
        check(read_all(s) == b"bye")
        s.sendall(b"still here")
        s.shutdown(socket.SHUT_WR)
        check(done.wait(LIMIT) and heard == [b"still here"], heard)


@case
def reset_by_the_client_reaches_the_target():
    ended = threading.Event()

    def read(s):
        with s, contextlib.suppress(OSError):
            read_all(s)
        ended.set()
    with target(read) as listener, Proxy(port_of(listener)) as proxy:
        before = proxy.descriptors()
        with proxy.connect() as s:
            s.sendall(b"x")
            wait_until(lambda: proxy.descriptors() == before + 2, "no connection to the target")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        check(ended.wait(LIMIT), "the target was not told")
        wait_until(lambda: proxy.descriptors() == before, "descriptors are left open")
        statistics, _ = proxy.stop()
        check(statistics["broken"] == 1, statistics)


@case
def third_of_the_clients_resets_and_the_rest_lose_nothing():
    random_source = random.Random(2)
    data = random_source.randbytes(300_000)
    wrong = []

    def client(proxy, resets_after):
        with proxy.connect() as s:
            sender = threading.Thread(target=send, args=(s,), daemon=True)
            sender.start()
            if resets_after is None:
                if read_all(s) != data:
                    wrong.append("the echo differs")
            else:
                with contextlib.suppress(OSError):
                    s.recv(resets_after)
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                s.close()
            sender.join()

    def send(s):
        with contextlib.suppress(OSError):
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)

    with target(echo) as listener, Proxy(port_of(listener)) as proxy:
        before = proxy.descriptors()
        clients = [threading.Thread(target=client, daemon=True,
                                    args=(proxy, random_source.randrange(1, 100_000) if i % 3 == 0 else None))
                   for i in range(120)]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join(LIMIT)
            check(not thread.is_alive(), "a client hangs")
        check(not wrong, wrong)
        wait_until(lambda: proxy.descriptors() == before, "descriptors are left open")
        statistics, complaints = proxy.stop()
        check(statistics["connections"] == 120 and 0 < statistics["broken"] <= 40, statistics)
        check(statistics["failed"] == 0 and not complaints, statistics, complaints)


@case
def ipv6_on_both_sides():
    if not socket.has_dualstack_ipv6() or not os.path.exists("/proc/net/if_inet6"):
        raise Skipped("there is no IPv6 here")
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as e:
        raise Skipped(f"there is no ::1 here: {e}") from e
    with listener, Proxy(f"[::1]:{port_of(listener)}", listen="[::1]:0") as proxy:
        with socket.create_connection(("::1", proxy.port), timeout=LIMIT) as s:
            peer, _ = listener.accept()
            with peer:
                s.sendall(b"six")
                check(peer.recv(10) == b"six")


# ---- Limits and failures

@case
def refused_by_the_target_is_told_and_ends_only_that_connection():
    port = free_port()
    with Proxy(port) as proxy:
        with proxy.connect() as s:
            check(read_all(s) == b"")
        with socket.create_server(("127.0.0.1", port)) as listener, proxy.connect() as s:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"back again")
            check(read_all(s) == b"back again")
        statistics, complaints = proxy.stop()
        check(statistics["connections"] == 2 and statistics["failed"] == 1, statistics)
        check(complaints == f"proxy: connect to 127.0.0.1:{port}: Connection refused\n", complaints)


@case
def target_that_does_not_answer_is_given_up():
    with target(backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(4):  # they fill the backlog, so the next one is left without an answer
            s = stack.enter_context(socket.socket())
            s.setblocking(False)
            s.connect_ex(listener.getsockname())
        proxy = stack.enter_context(Proxy(port_of(listener), "--connect-timeout", 0.2))
        start = time.monotonic()
        with proxy.connect() as s:
            check(read_all(s) == b"")
        check(time.monotonic() - start >= 0.2, "too early")
        statistics, complaints = proxy.stop()
        check(statistics["failed"] == 1 and "deadline passed while waiting (connect)" in complaints, statistics, complaints)


def outlive_two_idle_ones(proxy, act):
    """Calls `act` ten times a second until the proxy has ended two connections, one after the other."""
    for _ in range(2):
        start = time.monotonic()
        with proxy.connect() as idle:
            while not select.select([idle], [], [], 0.1)[0]:
                act()
            check(idle.recv(1) == b"")
        check(time.monotonic() - start >= 1, "too early")


@case
def idle_connection_ends_and_busy_one_does_not():
    with target(echo) as listener, Proxy(port_of(listener), "--idle-timeout", 1) as proxy, proxy.connect() as busy:
        def tick():
            busy.sendall(b"tick")
            check(busy.recv(10) == b"tick", "the busy one was ended")
        outlive_two_idle_ones(proxy, tick)
        busy.close()
        statistics, _ = proxy.stop()
        check(statistics["idle"] == 2 and statistics["broken"] == 0, statistics)


@case
def one_way_traffic_keeps_the_connection():
    sources, drops = [], []

    def drip():
        drops.append(b"drop")
        sources[0].sendall(drops[-1])
    with target(sources.append) as listener, Proxy(port_of(listener), "--idle-timeout", 1) as proxy, \
            proxy.connect() as s:
        wait_until(lambda: sources, "no connection to the target")
        outlive_two_idle_ones(proxy, drip)
        sources[0].close()
        check(read_all(s) == b"".join(drops), "ended early")


@case
def connections_over_the_limit_wait():
    with target(echo) as listener, Proxy(port_of(listener), "--limit", 2) as proxy:
        first, second, third = proxy.connect(), proxy.connect(), proxy.connect()
        for s in (first, second):
            s.sendall(b"hello")
            check(s.recv(10) == b"hello")
        third.sendall(b"hello")
        third.settimeout(0.2)
        try:
            third.recv(10)
            raise AssertionError("the third connection was served")
        except socket.timeout:
            pass
        first.close()
        third.settimeout(LIMIT)
        check(third.recv(10) == b"hello")
        second.close()
        third.close()
        statistics, _ = proxy.stop()
        check(statistics["connections"] == 3, statistics)


@case
def interrupt_lets_open_connections_end():
    for number in (signal.SIGINT, signal.SIGTERM):
        with target(echo) as listener, Proxy(port_of(listener), "--grace", 60) as proxy, proxy.connect() as s:
            s.sendall(b"one")
            check(s.recv(10) == b"one")
            proxy.interrupt(number)
            wait_until(lambda: is_refused(proxy.port), "it still listens")
            s.sendall(b"two")
            check(s.recv(10) == b"two", "the open connection was cut")
            s.shutdown(socket.SHUT_WR)
            check(read_all(s) == b"")
            statistics, _ = proxy.end()
            check(statistics["broken"] == 0 and statistics["sent"] == 6, statistics)


@case
def second_interrupt_quits_at_once():
    with target(echo) as listener, Proxy(port_of(listener), "--grace", 60) as proxy, proxy.connect() as s:
        s.sendall(b"one")
        check(s.recv(10) == b"one")
        proxy.interrupt()
        wait_until(lambda: is_refused(proxy.port), "it still listens")
        proxy.interrupt()
        check(proxy.process.wait(LIMIT) == -signal.SIGINT, proxy.process.returncode)


@case
def mistakes_are_told_with_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = port_of(taken)
        for arguments, status, text in (
                ([], 2, "are missing; see proxy --help"),
                (["localhost:1", "nowhere"], 2, "nowhere is not HOST:PORT, such as localhost:8080"),
                (["localhost:70000", "localhost:1"], 2, "localhost:70000 is not HOST:PORT"),
                (["localhost:1", "localhost:1", "--limit", "many"], 2, "--limit needs a number above 0"),
                (["localhost:1", "localhost:1", "--grace"], 2, "--grace needs a number above 0"),
                (["localhost:1", "localhost:1", "--fast", "1"], 2, "unknown option --fast"),
                (["127.0.0.1:0", "no-such-host.invalid:1"], 1, "no-such-host.invalid"),
                ([f"127.0.0.1:{port}", "localhost:1"], 1, "Address already in use; select another port"),
                (["--help"], 0, "usage: proxy LISTEN TARGET")):
            done = subprocess.run([PROXY, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
            if "invalid" in text and "temporar" in done.stdout:
                continue
            check(done.returncode == status and text in done.stdout, arguments, done.returncode, done.stdout)


if __name__ == "__main__":
    run_cases()
