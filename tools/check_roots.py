"""Does in fresh Debian systems what README.md says: installs rota, builds its program, talks to it, ends it by Ctrl-C.

The systems are minimal roots of Debian 12 and 13, made once by mmdebstrap or debootstrap in build-root-<suite>/. The
packages that the README's own command needs are installed then, too. Sources go to /src there; what they were built into
stays, so that the next run builds only what has changed.
"""

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

SUITES = {"bookworm": "Debian 12", "trixie": "Debian 13"}
MIRROR = "http://deb.debian.org/debian"

# A process and mount namespace of its own: nothing that is started or mounted there outlives it.
ENTER = """
set -e
root=$1
shift
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
exec chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 TERM=dumb "$@"
"""

# The program of the README as somebody with two terminals uses it. Its port is fixed, so it gets a network of its own.
TALK = """
import fcntl, signal, socket, struct, subprocess, time
signal.signal(signal.SIGINT, signal.default_int_handler)
with socket.socket() as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
server = subprocess.Popen(["./hello"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
for attempt in range(200):
    try:
        peer = socket.create_connection(("localhost", 7000), timeout=20)
        break
    except ConnectionRefusedError:
        assert server.poll() is None, server.stdout.read()
        time.sleep(0.05)
peer.sendall(b"hello\\n")
assert peer.makefile("rb").readline() == b"hello\\n"
server.send_signal(signal.SIGINT)
printed, _ = server.communicate(timeout=20)
assert (printed, server.returncode) == (b"", 130), (printed, server.returncode)
"""


def run(*command, limit=1800, **options):
    """Returns what is wrong, or an empty string."""
    try:
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=limit, check=False, **options)
    except subprocess.TimeoutExpired as expired:
        return f"{(expired.stdout or b'').decode(errors='replace')[-3000:]}\nstopped after {limit} s"
    output = done.stdout.decode(errors="replace")
    return "" if done.returncode == 0 else f"{output[-3000:]}\nexited with {done.returncode}"


def inside(root, *command, network=True):
    return run("unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"]),
               "sh", "-c", ENTER, "sh", root, *command)


def why_not():
    """Why no root can be made here, or None."""
    if os.geteuid() != 0:
        return "a Debian root can only be made as root"
    if not (shutil.which("mmdebstrap") or shutil.which("debootstrap")):
        return "there is no mmdebstrap or debootstrap"
    if run("unshare", "--mount", "--pid", "--fork", "--net", "mount", "--make-rprivate", "/"):
        return "no namespaces can be made here"
    return None


def mirror():
    """The archive that this machine takes its packages from, if it is Debian's."""
    try:
        listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], stdout=subprocess.PIPE, text=True,
                                stderr=subprocess.DEVNULL, check=False).stdout
    except OSError:
        return MIRROR
    return next((line for line in listed.splitlines() if re.search(r"/debian/?$", line)), MIRROR)


def copy_sources(source, destination):
    """Only what has changed, so that its age tells what has to be built again."""
    listed = subprocess.run(["git", "-C", source, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    names = listed.stdout.decode().split("\0")[:-1] if listed.returncode == 0 else \
        [str(p.relative_to(source)) for p in source.rglob("*")
         if p.is_file() and not str(p.relative_to(source)).startswith("build")]
    for name in names:
        old, new = source / name, destination / name
        if old.is_file() and not (new.is_file() and new.read_bytes() == old.read_bytes()):
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(old, new)


def make_root(source, root, suite):
    """Makes the root with the packages that the README's command needs; returns what went wrong."""
    new = root.with_name(f"{root.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    tool = ["mmdebstrap", "--mode=root"] if shutil.which("mmdebstrap") else ["debootstrap"]
    # What the tool mounts is gone with it, however it ends: nothing of this system is below `new` when that is removed.
    problem = run("unshare", "--mount", "--kill-child", *tool, "--variant=minbase", suite, new, mirror())
    if not problem:
        sudo = new / "usr/bin/sudo"     # as root, in a system without it
        sudo.write_text('#!/bin/sh\nexec "$@"\n')
        sudo.chmod(0o755)
        copy_sources(source, new / "src")
        problem = inside(new, "sh", "-c", "cd /src && ./dev packages install") or \
            inside(new, "bash", "-c", ". /src/dev && need 'redis-server command -v redis-server'")
    if problem:
        shutil.rmtree(new, ignore_errors=True)
    else:
        new.rename(root)
    return problem


def readme(source):
    """The C program, the command that installs, and the one that compiles."""
    text = (source / "README.md").read_text()
    program = re.search(r"^```c\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    return program, re.search(r"^    (\./dev install)\b", text, re.MULTILINE)[1], \
        re.search(r"^    (cc hello\.c .*)$", text, re.MULTILINE)[1]


def enabled(root, service):
    links = [*root.glob(f"etc/systemd/system/*.wants/{service}*"), *root.glob(f"etc/rc[2-5].d/S*{service}*"),
             *root.glob("usr/sbin/policy-rc.d")]
    return "\n".join(map(str, links))


def check(source):
    """Yields (title, problem, reason to skip), the last two empty when all is well."""
    for suite, name in SUITES.items():
        reason, root = why_not(), source / f"build-root-{suite}"
        if not reason and not root.exists():
            reason = make_root(source, root, suite)
            reason = reason and f"{name} cannot be had: {reason.strip().splitlines()[-1]}"
        if reason:
            yield name, "", reason
            continue
        program, install, compile_it = readme(source)
        copy_sources(source, root / "src")
        shutil.rmtree(root / "usr/local")
        (root / "usr/local").mkdir()
        (root / "root/hello.c").write_text(program)
        (root / "root/talk.py").write_text(textwrap.dedent(TALK))
        problem = inside(root, "sh", "-c", f"cd /src && {install}")
        yield f"{name}: {install}", problem, ""
        if problem:
            continue
        problem = inside(root, "sh", "-c", f"cd && {compile_it} && man -w rota rota_run")
        yield f"{name}: the program is compiled, and there is a manual", problem, ""
        yield f"{name}: it echoes until Ctrl-C, which prints nothing", \
            problem or inside(root, "sh", "-c", "cd && python3 talk.py", network=False), ""
        yield f"{name}: no service was enabled with its package", enabled(root, "redis-server"), ""
