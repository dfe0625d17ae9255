"""Checks ./dev where nothing may be installed: its functions, with apt and dpkg played by scripts."""

import os
import subprocess
import tempfile
from pathlib import Path

FAKES = {
    "apt-get": """
        echo "apt-get $*" >>"$LOG"
        case "$*" in
        *--print-uris*) printf "'http://a/%s.deb' %s.deb 3000000 SHA256:0\\n" one one two two ;;
        *install*) "$POLICY" a.service start; echo "start: $?" >>"$LOG"
                   "$POLICY" a.service restart; echo "restart: $?" >>"$LOG"
                   : >"$INSTALLED"; exit ${APT_STATUS:-0} ;;
        esac""",
    "apt-cache": """[ "$2" != no-such-package ]""",
    "dpkg-query": """echo "installed base"; [ ! -e "$INSTALLED" ] || echo "installed served" """,
    "dpkg": """printf '%s\\n' /lib/systemd/system/served.service /usr/lib/systemd/system/served@.service /etc/init.d/served""",
    "systemctl": """echo "systemctl $*" >>"$LOG" """,
    "update-rc.d": """echo "update-rc.d $*" >>"$LOG" """,
}

# ./dev, with those scripts before all others, and as if run by root.
PRELUDE = """
. ./dev
policy=$POLICY
as_root() { "$@"; }
can_install() { true; }
"""


class Stage:
    def __init__(self, root, directory):
        self.root, self.directory = root, Path(directory)
        self.log, self.policy = self.directory / "log", self.directory / "policy-rc.d"
        self.installed = self.directory / "installed"
        (self.directory / "bin").mkdir()
        for name, body in FAKES.items():
            path = self.directory / "bin" / name
            path.write_text(f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    def play(self, commands, **env):
        """Runs commands of ./dev; returns the status, what was printed, and what was called."""
        self.log.write_text("")
        self.installed.unlink(missing_ok=True)
        done = subprocess.run(["bash", "-c", PRELUDE + commands], cwd=self.root, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                              env={**os.environ, "PATH": f"{self.directory}/bin:{os.environ['PATH']}", **env,
                                   "LOG": str(self.log), "POLICY": str(self.policy), "INSTALLED": str(self.installed)})
        return done.returncode, done.stdout, self.log.read_text()


def probes(stage):
    """A header without its library, a library without its header, and both."""
    include = stage.directory / "include"
    include.mkdir()
    (include / "half.h").write_text("")
    status, printed, _ = stage.play("""missing "
        half links_with gcc -include half.h -lhalf_that_nobody_has
        whole links_with gcc -include math.h -lm
        unknown links unknown.h no-such-module" """, CPATH=str(include))
    return "" if (status, printed.split()) == (0, ["half", "unknown"]) else printed


def nothing_missing(stage):
    status, printed, calls = stage.play('need "sh command -v sh"')
    return "" if (status, printed, calls) == (0, "", "") else f"{printed}\n{calls}"


def announces(stage):
    status, printed, calls = stage.play("""need "one false" "
        no-such-package false
        two false" """)
    wanted = "install -y --no-install-recommends -q one two" in calls and "(7 MB to download): one two" in printed and \
        "no package no-such-package here: going on without it" in printed
    return "" if status == 0 and wanted else f"{printed}\n{calls}"


def starts_no_service(stage):
    _, printed, calls = stage.play('need "one false"')
    wanted = "start: 101\nrestart: 0\n" in calls and "systemctl disable --quiet --now served.service\n" in calls and \
        "update-rc.d served disable\n" in calls
    return "" if wanted and not stage.policy.exists() else f"{printed}\n{calls}"


def cleans_up(stage):
    status, printed, _ = stage.play('set -e; need "one false"', APT_STATUS="100")
    return "" if status != 0 and not stage.policy.exists() else printed or "policy-rc.d stays"


def respects_policy(stage):
    stage.policy.write_text("#!/bin/sh\nexit 104\n")
    stage.policy.chmod(0o755)
    stage.play('need "one false"')
    kept = stage.policy.exists() and stage.policy.read_text() == "#!/bin/sh\nexit 104\n"
    stage.policy.unlink(missing_ok=True)
    return "" if kept else "a policy-rc.d of the system was replaced"


def names_packages(stage):
    status, printed, _ = stage.play('can_install() { false; }; need "one false" "two false"')
    return "" if status != 0 and "please install (Debian's names): one and, if you can, two" in printed else printed


def check(root):
    """Yields (title, problem); the problem is empty when all is well."""
    for title, case in (("a header without its library is missing", probes),
                        ("nothing is done when nothing is missing", nothing_missing),
                        ("what is downloaded is said beforehand, and what cannot be had is left out", announces),
                        ("services are neither started nor left enabled", starts_no_service),
                        ("an installation that fails leaves nothing behind", cleans_up),
                        ("the system's own policy for services stays", respects_policy),
                        ("packages are named where they cannot be installed", names_packages)):
        with tempfile.TemporaryDirectory() as directory:
            yield title, case(Stage(root, directory))
