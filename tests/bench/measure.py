# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The measurements of a run of the benchmarks, in their order."""

import json
import os
import resource
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/lab"))

import engines  # noqa: E402
import runs  # noqa: E402
from lab import RELEASES, Lab, LabError  # noqa: E402
from still import USERDB_SECONDS, Still  # noqa: E402

INVENTORY = ROOT / "tests/integration/inventory.yml"
HOSTS = MX1, MX2 = "mx1.example.org", "mx2.example.org"
RELEASE = "bookworm"
DOVECOT = RELEASES[RELEASE].dovecot
SIZES = (1, 100, 1000, 10_000, 100_000)
LARGEST = SIZES[-1]
# How often those tasks are run that are compared with a ping.
REPEATED = 5
# How often, in turn, what adds all of the largest list is run beside the bare client, in each round.
IN_TURN = 2
# How many items of the command loop are measured; more are extrapolated.
LOOPED = 40
# Users of the module that forks doveadm for each.
FORKED = 200
# Users whose syncs are waited for, on a pair that replicates.
SYNCED = 1000
# For how long others of the same Dovecot are watched while a task runs.
WATCHED_SECONDS = 3

USER, REPLICATE, INFO, WAIT = (f"{runs.COLLECTION}.replicator_{name}" for name in ("user", "replicate", "info", "wait"))
OBSERVE = f"{runs.COLLECTION}.node_info"
NAMES_FILE = "/srv/names"
BARE_CLIENT = "/srv/bare_client.py"
BARE = f"/usr/bin/python3 {BARE_CLIENT} /run/still {NAMES_FILE}"
BYSTANDERS = "/srv/bystanders.py"
MEASURED_PYTHON = "/srv/measured-python"
# Where Ansible keeps what it has sent, when asked to.
KEPT = "/srv/kept"
# An interpreter that notes the peak memory of what it runs.
MEASURED_PYTHON_SOURCE = """#!/usr/bin/python3
import resource, subprocess, sys
code = subprocess.call(["/usr/bin/python3"] + sys.argv[1:])
with open("/srv/peak", "w") as peak:
    peak.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
PING = {"name": "ping", "ansible.builtin.ping": {}}
# The first task of a play opens the connection, which is no task's cost.
OPENING = {**PING, "name": "first task of a play"}


class Fleet(NamedTuple):
    """Pairs in one play, and how Ansible is set for it."""

    pairs: int
    forks: int
    pipelining: bool = True


FLEETS = [Fleet(1, 5), Fleet(100, 20)]
# The first is a play of one ping: what Ansible costs by itself.
FLEET_RUNS = ["ping", "status", "setup"]
MORE_FLEETS = [
    Fleet(10, 5),
    Fleet(10, 20),
    Fleet(10, 20, pipelining=False),
    Fleet(100, 5),
    Fleet(100, 50),
]


class Busy(Still):
    """A still Dovecot that is told of each delivery, as one is that replicates."""

    SETTINGS = f"""{Still.SETTINGS}
mail_plugins = notify replication
plugin {{
  mail_replica = tcp:127.0.0.1:1
}}
service aggregator {{
  fifo_listener replication-notify-fifo {{
    user = vmail
  }}
  unix_listener replication-notify {{
    user = vmail
  }}
}}
"""


def user_name(number):
    return f"user{number:06d}@example.org"


def processor_seconds():
    """Return how long processors have worked for commands that have ended here; what the hosts do is not counted."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Bench:
    """One run and what it has measured."""

    def __init__(self, full):
        self.full = full
        self.rounds = 7 if full else 2
        self.fleets = FLEETS + (MORE_FLEETS if full else [])
        self.began = time.monotonic()
        # Lists of seconds by what took them.
        self.samples = defaultdict(list)
        # What is not seconds: numbers by what they are.
        self.figures = {}
        # Rows of bystanders.py by what ran meanwhile.
        self.bystanders = {}
        # See engines.py.
        self.engines = {}
        self.lab = Lab("bench")

    @property
    def names_file(self):
        """The users of ``empty_list``, on the controller."""
        return self.lab.directory / "names.txt"

    def say(self, text):
        print(f"{time.monotonic() - self.began:5.0f} s  {text}", flush=True)

    def median(self, what):
        return statistics.median(self.samples[what])

    def play(self, tasks, *options, **environment):
        """Run tasks on one host, take their seconds by name, and return their last results by name."""
        playbook = self.lab.directory / "bench.yml"
        playbook.write_text(json.dumps([{"hosts": MX1, "gather_facts": False, "tasks": [OPENING, *tasks]}]))
        environment.setdefault("ANSIBLE_LIBRARY", str(HERE / "library"))
        results = runs.succeeded(runs.play(self.lab, INVENTORY, playbook, *options, **environment))
        for line in results:
            self.samples[line["task"]].append(line["seconds"])
        return {line["task"]: line["result"] for line in results}

    def playbook(self, what, name, *options, inventory=INVENTORY, **environment):
        """Run a playbook, take its seconds and those of processors, and return its results.

        :arg name: of one of the collection's, or a path
        """
        playbook = name if isinstance(name, Path) else f"{runs.COLLECTION}.{name}"
        began, used = time.monotonic(), processor_seconds()
        results = runs.play(self.lab, inventory, playbook, *options, **environment)
        self.samples[what].append(time.monotonic() - began)
        self.figures[f"{what}: processor"] = processor_seconds() - used
        return runs.succeeded(results)

    def task(self, what, module, check=False, **options):
        return {"name": what, module: {**options, "config_file": Still.CONFIG}, "check_mode": check}

    def prepare(self):
        self.lab.up(RELEASE)
        runs.succeeded(runs.play(self.lab, INVENTORY, runs.MAILHOST, "-e", "mailhost_install=true"))
        for path in BARE_CLIENT, BYSTANDERS:
            self.lab.execute(MX1, "tee", path, stdin=(HERE / os.path.basename(path)).read_text())
        self.lab.execute(MX1, "tee", MEASURED_PYTHON, stdin=MEASURED_PYTHON_SOURCE)
        self.lab.execute(MX1, "chmod", "755", MEASURED_PYTHON)
        self.dovecot = Busy(self.lab, MX1)

    def empty_list(self, size):
        """Have so many users, none of them on the list; return the options by which a play knows their names."""
        names = [user_name(number) for number in range(size)]
        self.dovecot.have_users(dict.fromkeys(names, ""))
        self.empty()
        self.names_file.write_text("".join(name + "\n" for name in names))
        self.lab.execute(MX1, "tee", NAMES_FILE, stdin=self.names_file.read_text())
        variables = self.lab.directory / "names.json"
        variables.write_text(json.dumps({"names": names}))
        return ["-e", f"@{variables}"]

    def empty(self):
        self.dovecot.module("replicator_user", user_mask="*", state="absent")

    def membership(self, size):
        """``replicator_user`` on a list of this size."""
        names = "{{ names }}"
        options = self.empty_list(size)
        remove = f"doveadm -c {Still.CONFIG} replicator remove {user_name(0)}"
        results = self.play(
            [
                {**PING, "name": f"ping/{size}"},
                self.task(f"check/{size}", USER, users=names, check=True),
                self.task(f"first/{size}", USER, users=names),
                self.task(f"second/{size}", USER, users=names),
                self.task(f"file/{size}", USER, users_file=str(self.names_file)),
                self.task(f"mask/{size}", USER, user_mask="*"),
                {"name": "take one off", "ansible.builtin.command": remove},
                self.task(f"one/{size}", USER, users=names),
                {**PING, "name": f"ping/{size}"},
            ],
            *options,
        )
        for what, changed in ("check", size), ("first", size), ("second", 0), ("file", 0), ("mask", 0), ("one", 1):
            result = results[f"{what}/{size}"]
            if len(result["added"]) != changed:
                raise LabError(f"{what}/{size} added {len(result['added'])} users, not {changed}")
            self.figures[f"result {what}/{size}"] = len(json.dumps(result))
        if size == LARGEST and "info: overview" not in self.samples:
            self.information()
        in_turn = [
            self.task(f"first by mask/{size}", USER, user_mask="*"),
            self.task(f"first by file/{size}", USER, users_file=str(self.names_file)),
            {"name": f"bare/{size}", "ansible.builtin.command": BARE},
        ]
        for task in in_turn * (IN_TURN if size == LARGEST else 1):
            self.empty()
            self.play([task])

    def information(self):
        """Reading the largest list."""
        results = self.play(
            [
                *3 * [self.task("info: overview", INFO, gather=["overview"])],
                *3
                * [
                    self.task(
                        "info: ten of those not synced for a day", INFO, gather=["users"], older_than="1d", limit=10
                    )
                ],
                self.task("info: everything", INFO, gather=["users"]),
                self.task("info: what `verify` observes on a host", OBSERVE),
            ]
        )
        for what, result in results.items():
            self.figures[f"result {what}"] = len(json.dumps(result))

    def against_ping(self):
        """Tasks that have nothing to do, as often as a ping."""
        options = self.empty_list(1000)
        again = [
            PING,
            self.task("1000 by name", USER, users="{{ names }}"),
            self.task("1000 by mask", USER, user_mask="*"),
        ]
        self.play([self.task("add", USER, user_mask="*"), *REPEATED * again], *options)
        self.empty_list(LARGEST)
        again = [{**PING, "name": "ping beside 100000"}, self.task("100000 by mask", USER, user_mask="*")]
        self.play([self.task("add", USER, user_mask="*"), *REPEATED * again])

    def habits(self):
        """The same as people do it today."""
        names = [user_name(number) for number in range(FORKED)]
        self.empty_list(FORKED)
        add = f"doveadm -c {Still.CONFIG} replicator add {{{{ item }}}}"
        self.play(
            [
                {"name": "loop", "ansible.builtin.command": add, "loop": names[:LOOPED]},
                {"name": "forking", "forking_user": {"users": names, "config_file": Still.CONFIG}},
            ]
        )

    def costs(self):
        """Peak memory with the largest list, and payloads."""
        names = self.empty_list(LARGEST)
        for run in "all new", "nothing to do":
            task = self.task("measured", USER, users="{{ names }}")
            self.play([{**task, "vars": {"ansible_python_interpreter": MEASURED_PYTHON}}], *names)
            peak = int(self.lab.execute(MX1, "cat", "/srv/peak").stdout)
            self.figures[f"peak MB, {run}"] = peak / 1024
        keep = dict(ANSIBLE_PIPELINING="false", ANSIBLE_KEEP_REMOTE_FILES="true", ANSIBLE_REMOTE_TEMP=KEPT)
        self.lab.execute(MX1, "rm", "-rf", KEPT)
        self.play([self.task("kept", USER, user_mask="*"), {"name": "kept", "ansible.builtin.command": "true"}], **keep)
        sizes = self.lab.execute(MX1, "sh", "-c", f"stat -c '%n %s' {KEPT}/*/AnsiballZ_*").stdout
        for line in sizes.splitlines():
            path, size = line.rsplit(" ", 1)
            self.figures[f"payload {os.path.basename(path)[len('AnsiballZ_') : -len('.py')]}"] = int(size)

    def disturbance(self):
        """How others of the same Dovecot fare meanwhile; see bystanders.py.

        All of it on the host, without a controller, which would take the processors that they need.
        """
        self.empty_list(LARGEST)
        agent = self.dovecot.agent
        compute = f"timeout {WATCHED_SECONDS + 3} python3 -c 'while True: pass' || true"
        work = {
            "nothing": lambda: None,
            "a program that only computes": lambda: agent.shell(compute),
            f"the bare client: {LARGEST:,} new users": lambda: agent.shell(BARE),
            f"`replicator_user`: {LARGEST:,} new users": lambda: self.dovecot.module("replicator_user", user_mask="*"),
            f"`replicator_user`: {LARGEST:,} users, nothing to do": lambda: self.read_for(WATCHED_SECONDS + 2),
        }
        for what, do in work.items():
            if what.endswith("new users"):
                self.empty()
            watched = self.lab.converse(MX1, "python3", BYSTANDERS, Still.CONFIG, str(WATCHED_SECONDS), user_name(0))
            began = time.monotonic()
            do()
            self.bystanders[what] = {"task": time.monotonic() - began, **json.loads(watched.communicate()[0])}

    def read_for(self, seconds):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.dovecot.module("replicator_user", user_mask="*")

    def role(self):
        """The role on a pair whose Dovecot is installed; without the proof that follows by default."""
        for _round in range(self.rounds):
            runs.succeeded(runs.play(self.lab, INVENTORY, f"{runs.COLLECTION}.setup", "-e", "replication_state=absent"))
            for what in "role: first run", "role: no change":
                results = self.playbook(what, "setup")
                self.figures[f"{what}: tasks"] = sum(line["host"] == MX1 and line["status"] == "ok" for line in results)

    def waiting(self):
        """New users on the pair that the role has made, all of whom have yet to be synced; then nothing to wait for."""
        names = [user_name(number) for number in range(SYNCED)]
        runs.succeeded(runs.play(self.lab, INVENTORY, runs.MAILHOST, "-e", json.dumps({"mailboxes": names})))
        time.sleep(USERDB_SECONDS)
        results = self.play(
            [
                {"name": "wait: first syncs", USER: {"user_mask": "user*", "wait": True, "wait_timeout": 600}},
                {"name": "wait: for nothing", WAIT: {"user_mask": "*"}},
                {"name": "wait: syncs of all", REPLICATE: {"user_mask": "user*", "wait": True, "wait_timeout": 600}},
            ]
        )
        for what in "wait: first syncs", "wait: syncs of all":
            synced = len(results[what]["synced_users"])
            if synced != SYNCED:
                raise LabError(f"{what}: {synced} users were synced, not {SYNCED}")

    def fleet(self):
        """Many pairs in one play, all of them names of the two hosts of the lab."""
        for host in HOSTS:
            # The hosts of a fleet have an sshd each.
            self.lab.execute(host, "tee", "/etc/ssh/sshd_config.d/fleet.conf", stdin="MaxStartups 1000\n")
            self.lab.execute(host, "systemctl", "reload", "ssh")
        ping = self.lab.directory / "ping.yml"
        ping.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [PING]}]))
        for fleet in self.fleets:
            self.say(str(fleet))
            environment = dict(
                ANSIBLE_FORKS=str(fleet.forks),
                ANSIBLE_PIPELINING=str(fleet.pipelining),
            )
            inventory = self.fleet_inventory(fleet.pairs)
            for name in FLEET_RUNS:
                playbook = ping if name == "ping" else name
                self.playbook(f"fleet: {name} {fleet}", playbook, inventory=inventory, **environment)

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
                self.say(f"round {number + 1} of {self.rounds}: {size:,} users")
                self.membership(size)
        self.say("beside a ping")
        self.against_ping()
        self.say("loop and forking module")
        self.habits()
        self.say("memory and payload")
        self.costs()
        self.say("bystanders")
        self.disturbance()
        self.dovecot.stop()
        self.say("the role")
        self.role()
        self.say("fleets")
        self.fleet()
        self.say(f"syncs of {SYNCED:,} users")
        self.waiting()
        self.say("engines")
        self.engines = engines.compared(self.say)
        self.say("done")
