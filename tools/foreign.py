"""Foreign programs against rota's server, where they are installed. Behind ./dev h2spec and ./dev differential.

h2spec        the conformance suite of that name (https://github.com/summerwind/h2spec); further arguments are its own
differential  each request of tests/refusals.h to nginx and node as well: it fails if rota is the only one to accept one,
              and lists what the others accept

Neither is part of the tests, which have tables of their own for both. What is not installed is skipped.
"""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import http_wire as wire  # noqa: E402
from http_target import Peer, connect, read_until_end  # noqa: E402
from native import DIRECTORY, free_port, programs, server  # noqa: E402

NGINX = """daemon off; pid {directory}/pid; error_log stderr crit; worker_processes 1;
events {{ worker_connections 64; }}
http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
server {{ listen 127.0.0.1:{port}; location / {{ return 200 ok; }} }} }}"""
NODE = """require('http').createServer((q, r) => {{ q.on('data', () => 0); q.on('end', () => r.end('ok')); }})
.listen({port}, '127.0.0.1');"""


def skip(name, where):
    print(f"skipped: {name} is not installed{where}")
    sys.exit(0)


def h2spec(arguments):
    program = shutil.which("h2spec") or skip("h2spec", ": https://github.com/summerwind/h2spec")
    with Peer() as peer:
        return subprocess.run([program, "-h", "127.0.0.1", "-p", str(peer.port), "-o", "3", *arguments],
                              check=False).returncode


def verdict(port, data):
    """The statuses of what it replies with."""
    with connect(port) as s:
        with contextlib.suppress(ConnectionError):
            s.sendall(data)
            s.shutdown(1)
        reply = read_until_end(s)
    try:
        return [reply.status for reply in wire.parse_replies(reply)]
    except (AssertionError, ValueError):
        return ["?"]


def accepts(statuses):
    return bool(statuses) and statuses[0] != "?" and statuses[0] < 400


@contextlib.contextmanager
def others():
    """The ports of those that are installed, by name."""
    found = {}
    with contextlib.ExitStack() as stack:
        for name, text, command in (("nginx", NGINX, ["-e", "stderr", "-p", DIRECTORY, "-c"]), ("node", NODE, [])):
            program = shutil.which(name, path="/usr/sbin:/usr/local/bin:/usr/bin:/bin")
            if not program:
                print(f"without {name}, which is not installed")
                continue
            found[name] = free_port()
            conf = DIRECTORY / f"{name}.conf"
            conf.write_text(text.format(directory=DIRECTORY, port=found[name]))
            stack.enter_context(server([program, *command, conf], found[name]))
        yield found


def differential(_):
    table = subprocess.run([Peer.program, "--table"], stdout=subprocess.PIPE, text=True, check=True).stdout
    alone = 0
    with Peer() as peer, others() as found:
        if not found:
            return 0
        for line in table.splitlines():
            rfc, _, data = line.split("\t")
            data = bytes.fromhex(data)
            ours = verdict(peer.port, data)
            theirs = {name: verdict(port, data) for name, port in found.items()}
            lenient = [name for name, statuses in theirs.items() if accepts(statuses)]
            if accepts(ours) and not lenient:
                alone += 1
                print(f"rota alone accepts (RFC {rfc}): {data!r}")
            elif lenient:
                print(f"rota refuses (RFC {rfc}), accepted by {', '.join(lenient)}: {data!r}")
    return 1 if alone else 0


if __name__ == "__main__":
    suite, rest = sys.argv[1], sys.argv[3:]
    sys.argv = [sys.argv[0], sys.argv[2]]
    Peer.program = programs(1)[0]
    sys.exit({"h2spec": h2spec, "differential": differential}[suite](rest))
