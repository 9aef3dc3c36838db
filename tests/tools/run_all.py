# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run all parts of the test suite and print a summary.

A part fails when its command fails, and also when its output does not show that it tested anything.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

PYTEST = (r"(\d+) passed.* in [\d.]+s", "tests passed")
SANITY = (r"Sanity: (\d+) tests on \d+ files", "sanity tests")

# part: what its output must contain, each with a number above zero and what that number counts
PARTS = {
    "lint": [
        (r"(\d+) files? already formatted", "Python files"),
        (r"in (\d+) files processed", "Ansible files"),
        (r"license information: (\d+) /", "files with a licence"),
    ],
    "docs": [(r"Site: (\d+) pages", "pages"), (r"(\d+) links within it", "links")],
    "units": [PYTEST],
    "sanity": [SANITY],
    "integration": [PYTEST],
}
# What of a part is run here, where all of it would take too long, and a part that is not run here. `make torture` runs
# all of these.
CHOICES = {"lint": ["LINT=--some"], "sanity": ["SANITY=--some"]}
RARE = {"molecule": [(r"(\d+) of \d+ molecule runs passed", "runs")]}

# Lanes run at the same time, as live hosts leave the processors idle at times; parts of a lane, one after the other.
LANES = [["integration"], ["docs", "lint", "units", "sanity"]]


def files(*places):
    """Return the names of the files that git knows or would add, of all without places."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "-z", "--", *places]
    names = subprocess.check_output(listing, cwd=ROOT, text=True).split("\0")
    # A file deleted but not yet staged is still listed.
    return [name for name in names if name and (ROOT / name).exists()]


def make(part):
    # The lane of live hosts takes longest, so it comes first.
    patience = [] if part in LANES[0] else ["nice", "-n", "5"]
    return [*patience, *make_all(part), *CHOICES.get(part, [])]


def make_all(part):
    return ["make", "--no-print-directory", part]


def run(command, show):
    """Run a command, show its output line by line, and return the exit code and the output.

    :arg show: function of a line
    """
    lines = []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_COLOR": "1", "PY_COLORS": "0", "ANSIBLE_FORCE_COLOR": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            show(line)
            lines.append(line)
    return process.returncode, re.sub(r"\x1b\[[\d;]*m", "", "".join(lines))


def count(patterns, output):
    """Return whether something of everything was counted, and the counts as text."""
    counts = []
    for pattern, what in patterns:
        found = re.findall(pattern, output)
        counts.append((int(found[-1]) if found else 0, what))
    # Whoever reads the summary is to look into these, although the part has passed.
    again = re.findall(r"^RERUN (\S+)", output, re.M)
    text = [f"{number} {what}" for number, what in counts] + [f"run again: {name}" for name in again]
    return all(number for number, what in counts), ", ".join(text)


def run_parts(parts, command_of, lanes=None, passed=(), note=None):
    """Run parts, a dict like PARTS, print a summary, and end with status 0 when all have passed.

    :arg lanes: as LANES; one part after the other when None
    :arg passed: parts that have passed before, and are not run again
    :arg note: function of a part that has just passed
    """
    rows = {part: ("passed", 0, "before") for part in parts if part in passed}

    def run_part(part, prefix):
        if part in rows:
            return
        print(f"=== {part} ===", flush=True)
        start = time.monotonic()
        code, output = run(command_of(part), lambda line: print(f"{prefix}{line}", end="", flush=True))
        counted, text = count(parts[part], output)
        result = "failed" if code else "passed" if counted else "did not run"
        rows[part] = (result, time.monotonic() - start, text)
        if note and result == "passed":
            note(part)

    def run_lane(lane, is_first):
        for part in lane:
            run_part(part, "" if is_first else f"{part}| ")

    start = time.monotonic()
    lanes = lanes or [list(parts)]
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        list(pool.map(run_lane, lanes, [True] + [False] * (len(lanes) - 1)))
    print("=== summary ===")
    width = max([12, *map(len, parts)])
    print(f"{'part':<{width}} {'result':<12} {'seconds':>7}  counted")
    for part in parts:
        result, seconds, text = rows[part]
        print(f"{part:<{width}} {result:<12} {seconds:>7.0f}  {text}")
    good = sum(result == "passed" for result, seconds, text in rows.values())
    print(f"{good} passed, {len(rows) - good} failed, {time.monotonic() - start:.0f} seconds")
    sys.exit(good != len(rows))


if __name__ == "__main__":
    # Before anything uses the virtual environment.
    subprocess.run(make("docs-tools"), cwd=ROOT, check=True)
    run_parts(PARTS, make, LANES)
