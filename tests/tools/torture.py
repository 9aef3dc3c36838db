# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run what takes too long for `make test`, part by part, and print a summary.

The parts are a million inputs, each test marked ``torture``, all tests on every Dovecot and over every transport, and
all of what `make test` leaves out. What has passed is noted in .build/torture.json, and not run again while no file
that is TESTED changes. The marked tests run beside the others in two lanes, on labs of their own.

Arguments are texts that the name of a part must contain one of; --anew forgets what has passed.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys

import run_all

ROOT = run_all.ROOT
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from lab import RELEASES, STATE  # noqa: E402

NOTES = ROOT / ".build" / "torture.json"
# Parts of which `make test` runs a choice, or nothing.
LEFT_OUT = {**{part: run_all.PARTS[part] for part in run_all.CHOICES}, **run_all.RARE}
TESTS = "tests/integration"
INPUTS, EVERYWHERE = "a million inputs", "every test on every Dovecot"
MARKED = "torture"
# What the parts run, or run with.
TESTED = ["Makefile", "awx", "extensions", "playbooks", "plugins", "roles", "tests"]
# What the names of labs that tests share begin with, and what those of all labs of the marked tests end with.
LABS = ["it", "served", "timed", "mixed"]
OWN_LABS = "-marked"
# Of the marked tests, those of what comes after the replicator, which take as long as the rest and mostly wait.
AFTER_IT = tuple(f"{TESTS}/test_{name}" for name in ("service", "timer", "upgrade"))


def state_of_files():
    """Return a digest of the files that are TESTED, also of those that are not committed."""
    digest = hashlib.sha256()
    for name in sorted(run_all.files(*TESTED)):
        content = (ROOT / name).read_bytes()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def marked_tests():
    """Return the tests marked ``torture``, by file and function."""
    listing = subprocess.run(
        ["pytest", "--collect-only", "-q", "-m", MARKED, TESTS], cwd=ROOT, check=True, capture_output=True, text=True
    )
    # The cases of a test together, as they share what was prepared.
    return list(dict.fromkeys(line.partition("[")[0] for line in listing.stdout.splitlines() if "::" in line))


def command_of(part):
    if part == INPUTS:
        return ["pytest", "-v", "tests/unit/plugins/module_utils/test_fuzz.py"]
    if part == EVERYWHERE:
        return ["pytest", "-v", "--numprocesses", "3", TESTS]
    if part in LEFT_OUT:
        return run_all.make_all(part)
    suffix = f"-after{OWN_LABS}" if part.startswith(AFTER_IT) else OWN_LABS
    return ["env", f"MAILOPS_LAB_SUFFIX={suffix}", "pytest", "-v", "-s", "-m", MARKED, part]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("wanted", nargs="*", metavar="TEXT")
    arguments = parser.parse_args()
    os.environ.update(MAILOPS_ALL="1", MAILOPS_LAB_KEEP="1", MAILOPS_FUZZ_INPUTS="1000000")
    marked = marked_tests()
    lanes = [
        [part for part in marked if not part.startswith(AFTER_IT)],
        [part for part in marked if part.startswith(AFTER_IT)],
        [INPUTS, *LEFT_OUT, EVERYWHERE],
    ]
    if arguments.wanted:
        lanes = [[part for part in lane if any(text in part for text in arguments.wanted)] for lane in lanes]
    lanes = list(filter(None, lanes))
    if not lanes:
        parser.error(f"no part has one of {arguments.wanted} in its name")
    parts = {part: LEFT_OUT.get(part, [run_all.PYTEST]) for lane in lanes for part in lane}
    state = state_of_files()
    notes = json.loads(NOTES.read_text()) if NOTES.exists() and not arguments.anew else {}
    passed = notes["passed"] if notes.get("state") == state else []

    def note(part):
        passed.append(part)
        NOTES.parent.mkdir(exist_ok=True)
        NOTES.write_text(json.dumps({"state": state, "passed": passed}))

    try:
        run_all.run_parts(parts, command_of, lanes, passed=passed, note=note)
    finally:
        names = [f"{kind}-{release}" for kind, release in itertools.product(LABS, RELEASES)]
        for name in [*names, *(directory.name for directory in STATE.glob(f"*{OWN_LABS}"))]:
            remove = [sys.executable, "tests/lab/lab.py", "down", name]
            subprocess.run(remove, cwd=ROOT, env={**os.environ, "MAILOPS_LAB_SUFFIX": ""}, check=False)


if __name__ == "__main__":
    main()
