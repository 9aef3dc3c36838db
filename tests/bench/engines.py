# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast mail crosses with Dovecot's replicator and with the service, on two labs, one after the other in one run."""

import collections
import json
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import runs
from lab import RELEASES, Lab

HERE = Path(__file__).resolve().parent
INVENTORY = HERE.parents[1] / "tests/integration/inventory.yml"
HOSTS = MX1, MX2 = "mx1.example.org", "mx2.example.org"
CROSSING = "/srv/crossing.py"
USERS = 1000
PATIENCE = 120


class Engine(NamedTuple):
    """What is measured: a release of both hosts, and variables of the role."""

    name: str
    release: str
    variables: dict
    mailhost: dict


ENGINES = [
    Engine("replicator", "bookworm-backports", {}, {}),
    Engine("service", "trixie", {"replication_engine": "service"}, {"mailhost_syntax": "2.4"}),
]


class Crossing:
    """A lab with one of the engines, and what was measured on it: numbers by what they are."""

    def __init__(self, engine):
        self.engine = engine
        self.lab = Lab(f"engine-{engine.name}")
        self.figures = {}

    def up(self):
        self.lab.up(self.engine.release)
        names = [f"x{number:04}@example.org" for number in range(USERS)]
        given = {"mailhost_install": True, "mailboxes": names, **self.engine.mailhost}
        runs.succeeded(runs.play(self.lab, INVENTORY, runs.MAILHOST, "-e", json.dumps(given)))
        for host in HOSTS:
            self.lab.execute(host, "tee", CROSSING, stdin=(HERE / "crossing.py").read_text())
        began = time.monotonic()
        variables = json.dumps({"replication_verify": False, **self.engine.variables})
        runs.succeeded(runs.play(self.lab, INVENTORY, f"{runs.COLLECTION}.setup", "-e", variables))
        configured = time.monotonic()
        for host in HOSTS:
            waiting = dict(until="synced", wait_timeout=900)
            result = runs.Agent(self.lab, host).module("replicator_wait", **waiting)
            assert not result["failed"], result
        # The first syncs begin in the middle of the play.
        self.figures["first sync of all users, both hosts, s"] = time.monotonic() - configured
        self.figures["setup, s"] = configured - began

    def cross(self, what, number, users, pause):
        """Deliver mail on the first host; take the seconds until each is on the second one."""
        prefix = f"{what.split()[0]}{time.time():.0f}"
        common = [str(number), str(users), prefix]
        seer = self.lab.converse(MX2, "python3", CROSSING, "see", *common, str(PATIENCE))
        # It looks at what is there before.
        time.sleep(1)
        sent = self.lab.execute(MX1, "python3", CROSSING, "send", *common, str(pause)).stdout
        seen = seer.communicate()[0]
        left, came = (dict(line.split() for line in text.splitlines()) for text in (sent, seen))
        assert len(left) == len(came) == number, (what, len(left), len(came))
        return [float(came[token]) - float(left[token]) for token in left], max(map(float, came.values())) - min(
            map(float, left.values())
        )

    def outage(self):
        """Deliver mail while the peer's Dovecot is stopped; return the seconds from its start to the last arrival."""
        common = ["60", "30", f"outage{time.time():.0f}"]
        self.lab.execute(MX2, "systemctl", "stop", "dovecot")
        self.lab.execute(MX1, "python3", CROSSING, "send", *common, "0")
        time.sleep(30)
        seer = self.lab.converse(MX2, "python3", CROSSING, "see", *common, "400")
        began = time.time()
        self.lab.execute(MX2, "systemctl", "start", "dovecot")
        came = [float(line.split()[1]) for line in seer.communicate()[0].splitlines()]
        assert len(came) == 60, len(came)
        return max(came) - began

    def subjects(self, host, prefix):
        """How often each user has each mail of a series."""
        fetch = ["doveadm", "-f", "tab", "fetch", "-u", "x*", "user hdr.subject", "mailbox", "INBOX", "all"]
        lines = self.lab.execute(host, *fetch).stdout.splitlines()[1:]
        found = collections.Counter(tuple(line.split("\t")[-2:]) for line in lines)
        return {key: number for key, number in found.items() if prefix in key[1]}

    def both(self):
        """Deliver mail on both hosts to the same users at once; return how many mails are lost, and doubled."""
        series = f"both{time.time():.0f}"
        senders = [
            self.lab.converse(host, "python3", CROSSING, "send", "200", "20", f"{host[:3]}{series}", "0")
            for host in HOSTS
        ]
        for sender in senders:
            sender.communicate()
        deadline = time.monotonic() + PATIENCE
        here, there = ({}, {1: 1})
        while (here != there or len(here) < 400) and time.monotonic() < deadline:
            time.sleep(2)
            here, there = (self.subjects(host, series) for host in HOSTS)
        return 400 - min(len(here), len(there)), sum(number - 1 for number in here.values())

    def measure(self):
        delays, dummy = self.cross("single mails", 20, 1, 0.5)
        self.figures["one mail, median of 20, s"] = statistics.median(delays)
        self.figures["one mail, the longest of 20, s"] = max(delays)
        delays, took = self.cross("burst", 200, 50, 0)
        self.figures["200 mails to 50 users at once, until the last, s"] = took
        self.figures["200 mails to 50 users at once, median, s"] = statistics.median(delays)
        self.figures["200 mails to one user, until the last, s"] = self.cross("user", 200, 1, 0)[1]
        self.figures["peer stopped for half a minute, until 60 mails of meanwhile are there, s"] = self.outage()
        lost, doubled = self.both()
        self.figures["200 mails on each host for the same 20 users at once: lost"] = lost
        self.figures["the same: doubled"] = doubled
        process = "dovecot-replication-syncer" if self.engine.name == "service" else "replicator"
        pids = self.lab.execute(MX1, "pgrep", "-f", process).stdout.split()
        rss = [self.lab.execute(MX1, "ps", "-o", "rss=", "-p", pid, check=False).stdout for pid in pids]
        self.figures["memory of the process that decides, MB"] = max(int(kilobytes or 0) for kilobytes in rss) / 1024


def compared(say):
    """Return the figures by engine, measured one engine after the other."""
    found = {}
    for engine in ENGINES:
        say(f"{engine.name} of {RELEASES[engine.release].dovecot}")
        crossing = Crossing(engine)
        crossing.up()
        crossing.measure()
        found[f"{engine.name}, {RELEASES[engine.release].dovecot}"] = crossing.figures
        crossing.lab.down()
    return found


def rows(found):
    """Return rows for a table: what was measured, the figures, and their ratio."""
    first, second = found.values()
    ratios = {what: f"{second[what] / first[what]:.2f}" if first[what] else "" for what in first}
    return [[what, f"{first[what]:.3g}", f"{second[what]:.3g}", ratios[what]] for what in first]
