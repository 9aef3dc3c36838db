# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run molecule scenarios on releases of Debian, two at a time, and print a summary.

Without arguments everything of MATRIX is run; else what is named, as SCENARIO:RELEASE.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASES = ["bookworm", "bullseye", "bookworm-backports"]
MATRIX = [(scenario, release) for scenario in ("default", "tcps", "ssh") for release in RELEASES] + [
    ("timer", "trixie")
]
AT_ONCE = 2


def run(scenario, release):
    """Run one scenario; return what it is, whether it passed, and the seconds. Its output is shown when it failed."""
    began = time.monotonic()
    place = ROOT / ".build" / "molecule" / f"{scenario}-{release}"
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["molecule", "test", "-s", scenario],
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "MAILOPS_LAB_RELEASE": release, "MOLECULE_EPHEMERAL_DIRECTORY": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    seconds = time.monotonic() - began
    if done.returncode:
        print(done.stdout)
    print(f"{scenario} on {release}: {'failed' if done.returncode else 'passed'} after {seconds:.0f} s", flush=True)
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wanted", nargs="*", metavar="SCENARIO:RELEASE")
    arguments = parser.parse_args()
    wanted = [tuple(item.split(":")) for item in arguments.wanted] or MATRIX
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        passed = list(pool.map(lambda item: run(*item), wanted))
    print(f"{sum(passed)} of {len(passed)} molecule runs passed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
