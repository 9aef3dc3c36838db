#!/usr/bin/env python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print figures of the role, to compare checkouts: what is written, and what a run without change costs.

Needs a lab pair of its own, which it removes at the end. Run it with the Python of .venv, on a quiet machine.
"""

import argparse
import re
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "replication"
VARIABLES = ROLE / "vars" / "main.yml"
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("bench", "lab")]

import runs  # noqa: E402
from lab import Lab  # noqa: E402
from measure import HOSTS, INVENTORY, RELEASE, Bench, Fleet, LabError  # noqa: E402

# Keywords whose values Ansible templates without braces.
BARE = {"when", "until", "that", "failed_when", "changed_when"}
BRACES = re.compile(r"{{|{%")
# How often a run is repeated whose seconds are taken.
ROUNDS = 5
FORKS = 20

DOVECONF = "/usr/bin/doveconf"
STARTS = "/srv/doveconf-starts"
# Each start is a line: the command line of the parent, a tab, the arguments. Also users of mail start it.
COUNTING_DOVECONF = f"""#!/bin/sh
printf '%s\\t%s\\n' "$(tr '\\0\\n' '  ' < /proc/$PPID/cmdline)" "$(printf '%s' "$*" | tr '\\n' ' ')" >> {STARTS}
exec {DOVECONF}.counted "$@"
"""
COUNT = f"mv {DOVECONF} {DOVECONF}.counted && cat > {DOVECONF} && chmod 755 {DOVECONF}"
BEGIN = f": > {STARTS} && chmod 666 {STARTS}"
STOP = f"mv {DOVECONF}.counted {DOVECONF} && rm {STARTS}"


def expressions(data: Any, bare: bool = False) -> int:
    """Count the Jinja expressions and statements in parsed YAML; ``bare``: texts are expressions without braces."""
    if isinstance(data, dict):
        return sum(expressions(value, key in BARE) for key, value in data.items())
    if isinstance(data, list):
        return sum(expressions(item, bare) for item in data)
    if not isinstance(data, str):
        return 0
    return len(BRACES.findall(data)) or int(bare)


def in_folder(name: str) -> int:
    """Count the Jinja expressions of a folder of the role."""
    paths = sorted(path for path in (ROLE / name).rglob("*") if path.is_file())
    if name == "templates":
        return sum(len(BRACES.findall(path.read_text())) for path in paths)
    return sum(expressions(yaml.safe_load(path.read_text())) for path in paths)


def number_of_refusals() -> int:
    """Count them where they are: in Jinja beside a key ``applies``, or in Python."""
    if not (ROOT / "plugins" / "plugin_utils" / "_refusals.py").exists():
        return len(re.findall(r"^ *- applies:", VARIABLES.read_text(), re.M))
    sys.path.insert(0, str(ROOT / ".venv" / "collections"))
    from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._refusals import REFUSALS

    return len(REFUSALS)


def written() -> Iterator[str]:
    """Lines about what is written in the role."""
    yield f"lines of vars/main.yml: {len(VARIABLES.read_text().splitlines())}"
    counts = {name: in_folder(name) for name in ("tasks", "handlers", "vars", "templates")}
    yield f"Jinja expressions: {sum(counts.values())} ({', '.join(f'{name} {n}' for name, n in counts.items())})"
    yield f"refusals: {number_of_refusals()}"


class Start(NamedTuple):
    """One start of doveconf."""

    parent: str
    arguments: str

    @property
    def kind(self) -> str:
        """Who started it. A program of Dovecot becomes ``doveconf -e PROGRAM``, which becomes the program again."""
        if re.search(r"(^| )-e ", self.arguments):
            program = Path(re.split(r"(?:^| )-e ", self.arguments, maxsplit=1)[1].split()[0]).name
            return "doveadm itself" if program == "doveadm" else "other programs of Dovecot"
        return "modules" if "python" in self.parent.split(" ")[0] else "others"


def spread(values: list[float], form: str) -> str:
    """The median of figures, and the least and greatest where there are several."""
    median = format(statistics.median(values), form)
    return f"{median} ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else median


class Figures(Bench):
    """The parts of the benchmarks that concern the role, with a lab of their own."""

    def __init__(self) -> None:
        super().__init__(full=False)
        self.lab = Lab("figures")
        self.processor: dict[str, list[float]] = defaultdict(list)
        self.changed: dict[str, int] = {}

    def playbook(self, what: str, name: str | Path, *options: str, **keywords: Any) -> list[dict[str, Any]]:
        """As of Bench; keep the processor's seconds of each run, and how many results were changes."""
        results = super().playbook(what, name, *options, **keywords)
        self.processor[what].append(self.figures[f"{what}: processor"])
        self.changed[what] = len(runs.changes(results))
        return results

    def prepare(self) -> None:
        """A pair that the role has made."""
        self.lab.up(RELEASE)
        runs.succeeded(runs.play(self.lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
        self.playbook("first", "setup")

    def seconds(self, what: str, *options: str) -> Iterator[str]:
        """Lines about a ``setup`` that changes nothing: its seconds, and its tasks."""
        for _round in range(ROUNDS):
            results = self.playbook(what, "setup", *options)
        yield f"{what}: {spread(self.samples[what], '.1f')} s, changes {self.changed[what]}"
        for host in HOSTS:
            tasks = Counter(line["status"] for line in results if line["host"] == host)
            yield f"{what}, tasks of {host}: {', '.join(f'{n} {status}' for status, n in sorted(tasks.items()))}"

    def starts(self, what: str, *options: str) -> Iterator[str]:
        """Lines about the starts of doveconf in a ``setup``."""
        for host in HOSTS:
            self.lab.execute(host, "sh", "-c", BEGIN)
        self.playbook(f"{what}, counted", "setup", *options)
        for host in HOSTS:
            lines = self.lab.execute(host, "cat", STARTS).stdout.splitlines()
            kinds = Counter(Start(*line.split("\t", 1)).kind for line in lines)
            parts = "".join(f", {n} by {kind}" for kind, n in sorted(kinds.items()))
            yield f"{what}, doveconf starts on {host}: {len(lines)}{parts}"
            if self.full:
                yield from (f"    {line}" for line in lines)

    def of_a_pair(self) -> Iterator[str]:
        """Lines about runs on the pair."""
        verify = ("-e", "replication_verify=true")
        yield from self.seconds("setup without change, not verified")
        yield from self.seconds("setup without change, verified", *verify)
        for host in HOSTS:
            self.lab.execute(host, "sh", "-c", COUNT, stdin=COUNTING_DOVECONF)
        try:
            yield from self.starts("setup without change, not verified")
            yield from self.starts("setup without change, verified", *verify)
            yield from self.starts("setup with a change, not verified", "-e", "replication_max_conns=9")
            yield from self.starts("setup with the change taken back, not verified")
        finally:
            for host in HOSTS:
                self.lab.execute(host, "sh", "-c", STOP)

    def of_a_fleet(self, pairs: int, rounds: int) -> Iterator[str]:
        """Lines about `status` and `setup` of many pairs; the first run is not counted, as it may change something."""
        warm, fleet = Fleet(1, FORKS), Fleet(pairs, FORKS)
        self.fleets = [warm, *rounds * [fleet]]
        self.fleet()
        for name in "status", "setup":
            what = f"fleet: {name} {fleet}"
            by_host = [used * 1000 / (2 * pairs) for used in self.processor[what]]
            yield (
                f"{name} of {pairs} pairs: {spread(by_host, '.0f')} ms of the controller's processor a host, "
                f"{spread(self.samples[what], '.0f')} s, changes {self.changed[what]}"
            )

    def say(self, text: str) -> None:
        """Tell progress apart from the figures."""
        print(f"# {text}", file=sys.stderr, flush=True)


def checkout() -> str:
    """The commit, and whether files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, nargs="*", default=[20], help="sizes of fleets; none for no fleet")
    parser.add_argument("--rounds", type=int, default=2, help="how often each fleet is run")
    parser.add_argument("--written", action="store_true", help="only what needs no lab")
    parser.add_argument("--starts", action="store_true", help="also list each start of doveconf")
    arguments = parser.parse_args()
    print(f"checkout: {checkout()}", flush=True)
    for line in written():
        print(line, flush=True)
    if arguments.written:
        return
    figures = Figures()
    figures.full = arguments.starts
    try:
        figures.prepare()
        for line in figures.of_a_pair():
            print(line, flush=True)
        for pairs in arguments.pairs:
            for line in figures.of_a_fleet(pairs, arguments.rounds):
                print(line, flush=True)
    except (LabError, AssertionError) as error:
        sys.exit(f"[figures] {error}")
    finally:
        figures.lab.down()


if __name__ == "__main__":
    main()
