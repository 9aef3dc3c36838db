#!/usr/bin/env python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures what the collection costs, against a live Dovecot, beside what people do without it.

Writes docs/benchmarks.md and docs/benchmarks.svg. All figures come from one run on one machine, so that their ratios
mean something; the seconds are those of the machine.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))

import runs  # noqa: E402
from lab import RELEASES, Lab, LabError  # noqa: E402
from still import Still  # noqa: E402

INVENTORY = ROOT / "tests/integration/inventory.yml"
PAGE = ROOT / "docs/benchmarks.md"
PLOT = ROOT / "docs/benchmarks.svg"
HOSTS = MX1, MX2 = "mx1.example.org", "mx2.example.org"
RELEASE = "bookworm"
SIZES = (1, 100, 1000, 10_000, 100_000)
LARGEST = SIZES[-1]
# How many items of the command loop are measured; more are extrapolated.
LOOPED = 60
# Pairs in one play, and forks.
FLEETS = [(1, 20), (10, 20), (100, 5), (100, 20), (100, 50)]
FORKED = 1000
USER, INFO = (f"{runs.COLLECTION}.replicator_{name}" for name in ("user", "info"))
NAMES_FILE = "/srv/names"
BARE_CLIENT = "/srv/bare_client.py"
# An interpreter that notes the peak memory of what it runs.
MEASURED_PYTHON = "/srv/measured-python"
MEASURED_PYTHON_SOURCE = """#!/usr/bin/python3
import resource, subprocess, sys
code = subprocess.call(["/usr/bin/python3"] + sys.argv[1:])
with open("/srv/peak", "w") as peak:
    peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
# Asks for the overview again and again while a task runs, and prints the longest wait and the median, in milliseconds.
PROBE = """
import socket, statistics, sys, time
server = socket.socket(socket.AF_UNIX)
server.connect("/run/still/replicator-doveadm")
lines = server.makefile("rb")
lines.readline()
server.sendall(b"VERSION\\treplicator-doveadm-client\\t1\\t0\\n")
waits = []
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    began = time.monotonic()
    server.sendall(b"STATUS\\n")
    while lines.readline() != b"\\n":
        pass
    waits.append((time.monotonic() - began) * 1000)
    time.sleep(0.002)
print(max(waits), statistics.median(waits))
"""


def user_name(number):
    return f"user{number:06d}@example.org"


class Bench:
    """The samples of one run: lists of seconds by what was measured."""

    def __init__(self, rounds):
        self.rounds = rounds
        self.began = time.monotonic()
        self.samples = defaultdict(list)
        # What is not seconds: numbers by what they are.
        self.figures = {}
        self.lab = Lab("bench")

    def say(self, text):
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def play(self, tasks, *options, **environment):
        """Run tasks on one host, take their seconds, and return their results by name."""
        playbook = self.lab.directory / "bench.yml"
        playbook.write_text(json.dumps([{"hosts": MX1, "gather_facts": False, "tasks": tasks}]))
        environment.setdefault("ANSIBLE_LIBRARY", str(HERE / "library"))
        results = runs.succeeded(runs.play(self.lab, INVENTORY, playbook, *options, **environment))
        for line in results:
            self.samples[line["task"]].append(line["seconds"])
        return {line["task"]: line["result"] for line in results}

    def playbook(self, what, name, inventory=INVENTORY, state="present", **environment):
        """Run one of the collection's playbooks and take its seconds."""
        began = time.monotonic()
        playbook = f"{runs.COLLECTION}.{name}"
        results = runs.play(self.lab, inventory, playbook, "-e", f"replication_state={state}", **environment)
        runs.succeeded(results)
        self.samples[what].append(time.monotonic() - began)
        first = results[0]["host"]
        self.figures[f"{what}: tasks"] = sum(line["host"] == first and line["status"] == "ok" for line in results)

    def median(self, what):
        return statistics.median(self.samples[what])

    def prepare(self):
        self.lab.up(RELEASE)
        runs.succeeded(runs.play(self.lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
        self.lab.execute(MX1, "tee", BARE_CLIENT, stdin=(HERE / "bare_client.py").read_text())
        self.lab.execute(MX1, "tee", MEASURED_PYTHON, stdin=MEASURED_PYTHON_SOURCE)
        self.lab.execute(MX1, "tee", "/srv/probe.py", stdin=PROBE)
        self.lab.execute(MX1, "chmod", "755", MEASURED_PYTHON)
        self.dovecot = Still(self.lab, MX1)

    def empty_list(self, size):
        """Have so many users in the userdb, none of whom is on the list; return their names."""
        names = [user_name(number) for number in range(size)]
        self.dovecot.start()
        self.dovecot.have_users(dict.fromkeys(names, ""))
        self.lab.execute(MX1, "tee", NAMES_FILE, stdin="".join(name + "\n" for name in names))
        variables = self.lab.directory / "names.json"
        variables.write_text(json.dumps({"names": names}))
        return ["-e", f"@{variables}"]

    def task(self, what, module, check=False, **options):
        return {"name": what, module: {**options, "config_file": Still.CONFIG}, "check_mode": check}

    def membership(self, size):
        """The tasks on a list of this size, after those that any play begins with."""
        names = "{{ names }}"
        options = self.empty_list(size)
        results = self.play(
            [
                {"name": "first task of a play", "ansible.builtin.ping": {}},
                {"name": f"ping/{size}", "ansible.builtin.ping": {}},
                self.task(f"check/{size}", USER, users=names, check=True),
                self.task(f"first/{size}", USER, users=names),
                self.task(f"second/{size}", USER, users=names),
                self.task(f"mask/{size}", USER, user_mask="*"),
                {
                    "name": "take one off",
                    "ansible.builtin.command": f"doveadm -c {Still.CONFIG} replicator remove {user_name(0)}",
                },
                self.task(f"one/{size}", USER, users=names),
                {"name": f"ping/{size}", "ansible.builtin.ping": {}},
            ],
            *options,
        )
        for what, changed in ("check", size), ("first", size), ("second", 0), ("mask", 0), ("one", 1):
            found = len(results[f"{what}/{size}"]["added"])
            if found != changed:
                raise LabError(f"{what}/{size} added {found} users, not {changed}")
            self.figures[f"result {what}/{size}"] = len(json.dumps(results[f"{what}/{size}"]))
        if size == LARGEST:
            self.information()
        options = self.empty_list(size)
        self.play(
            [
                {"name": "first task of a play", "ansible.builtin.ping": {}},
                {
                    "name": f"bare/{size}",
                    "ansible.builtin.command": f"/usr/bin/python3 {BARE_CLIENT} /run/still {NAMES_FILE}",
                },
            ],
            *options,
        )

    def information(self):
        results = self.play(
            [
                {"name": "first task of a play", "ansible.builtin.ping": {}},
                self.task("info: overview", INFO, gather=["overview"]),
                self.task("info: ten of the longest unsynced", INFO, gather=["users"], older_than="1d", limit=10),
                self.task("info: everything", INFO, gather=["users"]),
            ]
        )
        for what in "info: overview", "info: ten of the longest unsynced", "info: everything":
            self.figures[f"result {what}"] = len(json.dumps(results[what]))

    def habits(self):
        """The same as people do it today."""
        add = f"doveadm -c {Still.CONFIG} replicator add"
        names = [user_name(number) for number in range(FORKED)]
        self.empty_list(FORKED)
        loop = {"name": "loop", "ansible.builtin.command": add + " {{ item }}", "loop": names[:LOOPED]}
        self.play(
            [
                {"name": "first task of a play", "ansible.builtin.ping": {}},
                loop,
                {"name": "forking", "forking_user": {"users": names, "config_file": Still.CONFIG}},
            ]
        )

    def costs(self):
        """Peak memory and payloads; the list is full."""
        for what, options in ("list", {"users": "{{ names }}"}), ("mask", {"user_mask": "*"}):
            names = self.empty_list(LARGEST)
            for run in "first", "second":
                task = self.task("measured", USER, **options)
                self.play([{**task, "vars": {"ansible_python_interpreter": MEASURED_PYTHON}}], *names)
                peak = int(self.lab.execute(MX1, "cat", "/srv/peak").stdout)
                self.figures[f"peak MB, {run} run, {what}"] = peak / 1024
        keep = dict(ANSIBLE_PIPELINING="false", ANSIBLE_KEEP_REMOTE_FILES="true")
        self.lab.execute(MX1, "rm", "-rf", "/root/.ansible/tmp")
        self.play([self.task("kept", USER, user_mask="*"), {"name": "kept", "ansible.builtin.command": "true"}], **keep)
        sizes = self.lab.execute(MX1, "sh", "-c", "stat -c '%n %s' /root/.ansible/tmp/*/AnsiballZ_*").stdout
        for line in sizes.splitlines():
            path, size = line.rsplit(" ", 1)
            self.figures[f"payload {os.path.basename(path)[len('AnsiballZ_') : -len('.py')]}"] = int(size)
        self.lab.execute(MX1, "rm", "-rf", "/root/.ansible/tmp")

    def role(self):
        """The role on a pair whose Dovecot is installed; without the proof that follows by default."""
        for _round in range(self.rounds):
            self.playbook("role: absent", "setup", state="absent")
            self.playbook("role: first run", "setup")
            self.playbook("role: no change", "setup")

    def disturbance(self):
        """How long another client of the replicator waits while the largest task runs."""
        names = self.empty_list(LARGEST)
        for what, tasks in ("at rest", []), ("during", [self.task("disturbing", USER, users="{{ names }}")]):
            probe = self.lab.converse(MX1, "python3", "/srv/probe.py", "6")
            if tasks:
                self.play(tasks, *names)
            longest, median = map(float, probe.communicate()[0].split())
            self.figures[f"wait {what}: longest, ms"] = longest
            self.figures[f"wait {what}: median, ms"] = median

    def fleet(self):
        """Many pairs in one play, all of them names of the two hosts of the lab."""
        for host in HOSTS:
            # The hosts of a fleet have an sshd each.
            self.lab.execute(host, "tee", "/etc/ssh/sshd_config.d/fleet.conf", stdin="MaxStartups 1000\n")
            self.lab.execute(host, "systemctl", "reload", "ssh")
        for pairs, forks in FLEETS:
            inventory = self.fleet_inventory(pairs)
            for name in "status", "setup":
                what = f"fleet: {name}/{pairs}/{forks}"
                self.say(what)
                self.playbook(what, name, inventory, ANSIBLE_FORKS=str(forks))

    def fleet_inventory(self, pairs):
        """Write an inventory of so many pairs, a group for each, and return its path."""
        ports = {host.name: host.port for host in self.lab.up(RELEASE)}
        groups = {}
        for pair in range(pairs):
            group = f"pair_{pair:03d}"
            hosts = {
                f"{own[:3]}-{pair:03d}": dict(ansible_port=ports[own], replication_peer=peer)
                for own, peer in (HOSTS, HOSTS[::-1])
            }
            groups[group] = {"hosts": hosts, "vars": {"replication_group": group}}
        shared = yaml.safe_load(INVENTORY.read_text())["dovecot_replication"]["vars"]
        path = self.lab.directory / "fleet.yml"
        path.write_text(json.dumps({"dovecot_replication": {"children": groups, "vars": shared}}))
        return path

    def run(self):
        self.say("the lab")
        self.prepare()
        for number in range(self.rounds):
            for size in SIZES:
                self.say(f"round {number + 1} of {self.rounds}: {size} users")
                self.membership(size)
        self.say("loop and forking module")
        self.habits()
        self.say("memory and payload")
        self.costs()
        self.say("disturbance")
        self.disturbance()
        self.say("the role")
        self.role()
        self.say("a fleet")
        self.fleet()
        self.say("done")


def targets(bench):
    """Rows of what was aimed at: text, limit, ratio, and whether it was met."""
    ping = bench.median("ping/1000")
    loop = bench.median("loop") / LOOPED * 1000
    payload = bench.figures["payload replicator_user"] / bench.figures["payload command"]
    peak = max(number for what, number in bench.figures.items() if what.startswith("peak"))
    rows = [
        ("1,000 users present, nothing to do, against a ping", 1.5, bench.median("second/1000") / ping),
        ("100,000 users by mask, nothing to do, against a ping", 4, bench.median("mask/100000") / ping),
        ("100,000 users by name, nothing to do, against a ping", 4, bench.median("second/100000") / ping),
        ("100,000 new users against the bare client", 1.3, bench.median("first/100000") / bench.median("bare/100000")),
        ("payload against that of ansible.builtin.command", 1.2, payload),
        ("peak memory of the module with 100,000 users, MB", 150, peak),
    ]
    table = [(text, f"at most {limit:g}", f"{ratio:.2f}", ratio <= limit) for text, limit, ratio in rows]
    ahead = loop / bench.median("first/1000")
    return [*table, ("ahead of the command loop with 1,000 users", "at least 300", f"{ahead:.0f}", ahead >= 300)]


COLUMNS = {
    "first": "all new",
    "second": "nothing to do",
    "mask": "nothing to do, by mask",
    "one": "one new",
    "check": "check mode, all new",
    "bare": "bare client, all new",
    "ping": "ping",
}
HABITS = "new users,one task,`command` in a loop,module that forks `doveadm`,loop / task,forking / task".split(",")


def cell(samples):
    return f"{statistics.median(samples):.2f} ({min(samples):.2f}-{max(samples):.2f})"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def page(bench):
    """Return docs/benchmarks.md."""
    seconds = time.monotonic() - bench.began
    dovecot = RELEASES[RELEASE].dovecot
    by_size = [[f"{size:,}", *[cell(bench.samples[f"{what}/{size}"]) for what in COLUMNS]] for size in SIZES]
    item, fork = bench.median("loop") / LOOPED, bench.median("forking") / FORKED
    habits = []
    for size in SIZES[1:]:
        ours = bench.median(f"first/{size}")
        loop, forked = item * size, fork * size
        habits.append(
            [f"{size:,}", f"{ours:.2f}"]
            + [
                f"{seconds:,.0f}{'' if measured else ' *'}"
                for seconds, measured in ((loop, False), (forked, size == FORKED))
            ]
            + [f"{loop / ours:,.0f}", f"{forked / ours:,.0f}"]
        )
    info = [
        [what[6:], cell(bench.samples[what]), f"{bench.figures['result ' + what] / 1000:,.1f}"]
        for what in bench.samples
        if what.startswith("info: ")
    ]
    roles = [
        [what[6:], cell(bench.samples[what]), bench.figures[f"{what}: tasks"]]
        for what in bench.samples
        if what.startswith("role: ")
    ]
    fleets = []
    for pairs, forks in FLEETS:
        seconds = [bench.median(f"fleet: {name}/{pairs}/{forks}") for name in ("status", "setup")]
        each = [second / pairs / 2 * 1000 for second in seconds]
        fleets.append([pairs, forks, f"{seconds[0]:.1f}", f"{each[0]:.0f}", f"{seconds[1]:.1f}", f"{each[1]:.0f}"])
    peaks = [[what[9:], f"{number:.0f}"] for what, number in bench.figures.items() if what.startswith("peak MB")]
    waits = [[what[5:], f"{number:.1f}"] for what, number in bench.figures.items() if what.startswith("wait ")]
    aims = [[text, limit, ratio, "met" if met else "**missed**"] for text, limit, ratio, met in targets(bench)]
    return f"""<!--
SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Benchmarks

Written by `make bench`: one run of {seconds:.0f} s with {bench.rounds} rounds, on {os.cpu_count()} cores. Dovecot
{dovecot} in a container, reached over ssh on loopback with pipelining; ansible-core {bench.core}, on Python
{platform.python_version()} of the controller. Figures are seconds of a task as the controller sees it, the median with
the least and the most in brackets, unless something else is said. The replicator of this Dovecot starts no sync, so
that only the commands are measured.

## `replicator_user`, by the number of users

{table(["users", *COLUMNS.values()], by_size)}
Users are given by name, except in "by mask". The bare client ([source](../tests/bench/bare_client.py)) makes the round
trips of "all new" and nothing else, started by `ansible.builtin.command`.

![Seconds of a task by the number of users](benchmarks.svg)

## Beside what people do today

{table(HABITS, habits)}
\\* extrapolated: the loop from {LOOPED} items, the forking module from {FORKED:,} users.

## What was aimed at

{table(["aim", "limit", "measured", ""], aims)}
## `replicator_info` with {LARGEST:,} users on the list

{table(["what is asked for", "seconds", "result, kB"], info)}
## The role

A pair on which Dovecot is installed, `replication_verify: false`; seconds of the whole `ansible-playbook`, tasks of a
host that were not skipped.

{table(["run", "seconds", "tasks"], roles)}
## A fleet

Pairs in one play, `status` and a `setup` that changes nothing; seconds of the whole `ansible-playbook`, once each. All
pairs are names of the same two hosts, so this is what the controller can do.

{table(["pairs", "forks", "status", "ms a host", "setup", "ms a host"], fleets)}
## Memory of the module with {LARGEST:,} users

{table(["run", "peak, MB"], peaks)}
## How long another client of the replicator waits, in milliseconds

Another connection asks for the overview every two milliseconds, at rest and while {LARGEST:,} users are added.

{table(["when", "ms"], waits)}"""


def plot(bench):
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for what, label in COLUMNS.items():
        axes.plot(SIZES, [bench.median(f"{what}/{size}") for size in SIZES], marker="o", label=label)
    item = bench.median("loop") / LOOPED
    axes.plot(SIZES, [item * size for size in SIZES], linestyle="--", label="command in a loop (extrapolated)")
    axes.set(xscale="log", yscale="log", xlabel="users", ylabel="seconds of the task")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PLOT)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="seven rounds instead of three")
    arguments = parser.parse_args()
    bench = Bench(7 if arguments.full else 3)
    try:
        from ansible.release import __version__

        bench.core = __version__
        bench.run()
        PAGE.write_text(page(bench))
        plot(bench)
        (bench.lab.directory / "samples.json").write_text(json.dumps([bench.samples, bench.figures]))
    except LabError as error:
        sys.exit(f"[bench] {error}")
    finally:
        bench.lab.down()
    for text, limit, ratio, met in targets(bench):
        print(f"{'met   ' if met else 'MISSED'}  {text}: {ratio} ({limit})")


if __name__ == "__main__":
    main()
