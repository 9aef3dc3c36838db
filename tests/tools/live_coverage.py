# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the lines of plugins/ that neither the unit tests nor the integration tests run.

Lines are counted on the controller, and on the hosts that tests share where coverage runs on their Python: Debian 12
and 13. What the role installs on a host as a program of its own is counted in the unit tests alone. Arguments are for
pytest.
"""

import base64
import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import runs  # noqa: E402
from lab import Lab, LabError  # noqa: E402

HOME = ROOT / ".build" / "live-coverage"
LABS = ["it-bookworm", "it-trixie", "served-trixie", "timed-trixie", "mixed-trixie", "it-quickstart"]
TESTS = [["tests/unit"], ["--numprocesses", "3", "-m", "not torture and not release", "tests/integration"]]


def coverage(*arguments):
    return subprocess.run([sys.executable, "-m", "coverage", *arguments], cwd=ROOT, check=False).returncode


def fetch(name):
    """Take what was counted on the hosts of a lab, and stop them."""
    lab = Lab(name)
    for host in ("mx1", "mx2"):
        try:
            pack = f"mkdir -p {runs.COVERAGE_ON_HOSTS}; tar -cC {runs.COVERAGE_ON_HOSTS} . | base64"
            packed = lab.execute(host, "sh", "-c", pack).stdout
        except LabError as error:
            print(f"{name}: {error}")
            continue
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as archive:
            for member in archive:
                if member.isfile():
                    target = HOME / f".coverage.{name}-{host}-{Path(member.name).name}"
                    target.write_bytes(archive.extractfile(member).read())
    lab.down()


def main():
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(parents=True)
    os.environ.update(
        COVERAGE_FILE=str(HOME / ".coverage"),
        COVERAGE_RCFILE=str(runs.COVERAGE_SETTINGS),
        MAILOPS_COVERAGE="1",
        MAILOPS_LAB_KEEP="1",
        MAILOPS_LAB_RELEASES="bookworm trixie",
    )
    failed = [coverage("run", "-m", "pytest", "-q", *tests, *sys.argv[1:]) for tests in TESTS]
    for name in LABS:
        fetch(name)
    coverage("combine", "--quiet", str(HOME))
    coverage("report", "--skip-covered", "--show-missing", "--sort=cover")
    sys.exit(any(failed))


main()
