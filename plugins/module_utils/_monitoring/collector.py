# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads a replicator once and tells it: as metrics, to Nagios and its kin, to Checkmk, as JSON. PRIVATE.

``tests/tools/standalone.py`` makes one file of this module and what it imports, which the role ``monitoring`` installs.
Each minute a timer of systemd has it ask the replicator and write what it has learned below ``state_dir``. From there
the checks answer, so whoever runs them needs no right to Dovecot's socket.
"""

import argparse
import json
import os
import sys
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.writing import write_whole
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring import ring
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.conditions import (
    CRITICAL,
    WARNING,
    Told,
    lasting,
    true_now,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.metrics import (
    exposition,
    of_replicator,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.settings import (
    CONFIG,
    LAST,
    MAIL,
    PAST,
    TOLD,
    below,
    read_settings,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import (
    Snapshot,
    snapshot_of,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.socket_client import SocketClient

SERVICE = "Dovecot_replication"
OK, IS_WARNING, IS_CRITICAL, UNKNOWN = range(4)
WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# How far back a look at the past goes.
HISTORY = 6 * 3600
TIMEOUT = 10.0
# Seconds between two looks, where the settings have none, and what a look may take.
INTERVAL = 60
SPARE = 80
TIMER = "dovecot-replication-monitoring.timer"


class Reading(NamedTuple):
    """One look at a replicator.

    :arg overview: None where the replicator has not answered
    :arg kinds: of the running syncs
    :arg problem: why it has not answered, empty where it has
    """

    snapshot: Snapshot
    overview: Optional[Dict[str, int]]
    kinds: List[Optional[str]]
    problem: str


def look(settings: Mapping[str, Any]) -> Reading:
    """Read the replicator; what cannot be asked is in the Reading's ``problem``.

    :arg settings: the JSON file that the role writes
    """
    on_hold = os.path.exists(settings["hold_file"])
    if settings.get("reading"):
        return of_syncer(settings, on_hold, int(time.time()))
    try:
        client = SocketClient(settings["socket"], TIMEOUT)
        try:
            overview = client.overview()
            lines = client.rows()
            slots = client.dsyncs()
        finally:
            client.close()
        now = time.time()
        kinds = [slot.type for slot in slots if slot.username]
        return Reading(snapshot_of(lines, slots, now, on_hold), overview, kinds, "")
    except (DovecotError, ValueError) as error:
        return Reading(Snapshot(time=int(time.time()), on_hold=on_hold), None, [], str(error))


def of_syncer(settings: Mapping[str, Any], on_hold: bool, now: int) -> Reading:
    """Return what syncs a host without a replicator has told last; while it is on hold that stays true."""
    next_step = "Next step: run `systemctl status %s`" % settings["unit"]
    try:
        with open(settings["reading"]) as stream:
            reading = reading_in(json.load(stream))
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = "%s: %s. %s" % (type(error).__name__, error, next_step)
        return Reading(Snapshot(time=now, on_hold=on_hold), None, [], problem)
    age = now - reading.snapshot.time
    if age > settings["reading_old"] and not on_hold:
        problem = "nothing was synced for %d seconds. %s" % (age, next_step)
        return Reading(Snapshot(time=now), None, [], problem)
    return reading._replace(snapshot=reading.snapshot._replace(time=now, on_hold=on_hold))


def reading_in(written: Mapping[str, Any]) -> Reading:
    """Return the Reading in what was written of one; raise KeyError or TypeError where it is none."""
    return Reading(**dict(written, snapshot=Snapshot(**written["snapshot"])))


def state_of(reading: Reading, told: Sequence[Told]) -> int:
    """Return the state as Nagios numbers it. What could not be asked is UNKNOWN."""
    if reading.overview is None:
        return UNKNOWN
    severities = {item.condition.severity for item in told}
    return IS_CRITICAL if CRITICAL in severities else IS_WARNING if WARNING in severities else OK


def sentence(reading: Reading, told: Sequence[Told]) -> str:
    """Return what is wrong, or that nothing is, in one line."""
    if reading.overview is None:
        return reading.problem.replace("\n", " ").replace("|", "/")
    if told:
        return "; ".join("%s: %s" % (item.condition.summary.rstrip("."), item.evidence) for item in told)
    return "%d users, none fails, %d queued" % (reading.snapshot.known, reading.snapshot.queued)


def perfdata(reading: Reading, settings: Mapping[str, Any]) -> List[str]:
    """Return the numbers as Nagios takes them: ``label=value;warning;critical;least``."""
    now = reading.snapshot
    if reading.overview is None:
        return []
    found = [
        "failing=%d;0;%d;0;%d" % (now.failing, max(1, now.known // 10), now.known),
        "queued=%d;;;0" % now.queued,
        "running=%d;;;0;%s" % (now.running, settings.get("max_conns") or ""),
        "known=%d;;;0" % now.known,
        "longest_running=%ds;;;0" % now.longest_running,
    ]
    if now.oldest_full_sync is not None:
        found.append("oldest_full_sync=%ds;;;0" % max(0, now.time - now.oldest_full_sync))
    return found


def as_json(reading: Reading, state: int, told: Sequence[Told]) -> str:
    """Return everything as one line of JSON."""
    known = reading.snapshot._asdict() if reading.overview is not None else {"time": reading.snapshot.time, "up": False}
    conditions = [
        {
            "name": item.condition.name,
            "finding": item.condition.finding or None,
            "severity": item.condition.severity,
            "summary": item.condition.summary,
            "evidence": item.evidence,
        }
        for item in told
    ]
    state_and_problem = {"state": WORDS[state], "problem": reading.problem or None, "conditions": conditions}
    return json.dumps(dict(known, **state_and_problem), sort_keys=True)


def mail_of(settings: Mapping[str, Any], told: Sequence[Told]) -> str:
    """Return a mail that tells a person what has lasted, or that it is over."""
    host = os.uname()[1]
    names = ", ".join(sorted({item.condition.name for item in told}))
    lines = ["%s (%s): %s" % (item.condition.summary, item.condition.name, item.evidence) for item in told]
    subject = "replication on %s: %s" % (host, names or "all is well again")
    next_step = "Next step: ansible-playbook mailops.dovecot_replication.verify" if told else ""
    body = "\n".join(lines + ["", next_step]) if told else "No condition holds any more."
    return "To: %s\nSubject: %s\nAuto-Submitted: auto-generated\n\n%s\n" % (settings["mail_to"], subject, body.strip())


def tell_changes(settings: Mapping[str, Any], told: Sequence[Told]) -> None:
    """Write a mail where what holds is other than what was told last; a path unit of systemd sends it."""
    told_file = below(settings, TOLD)
    names = " ".join(sorted({item.condition.name for item in told}))
    try:
        with open(told_file) as stream:
            before = stream.read()
    except OSError:
        before = ""
    if names != before:
        write_whole(below(settings, MAIL), mail_of(settings, told))
        write_whole(told_file, names)


def past(settings: Mapping[str, Any], now: Snapshot) -> List[Snapshot]:
    """Return the Snapshots of the last hours before this one."""
    return ring.recall(below(settings, PAST), now.time - 1, HISTORY)


def metrics_of(reading: Reading, settings: Mapping[str, Any]) -> str:
    """Return the metrics of a Reading as text."""
    return exposition(of_replicator(reading.snapshot, reading.overview, reading.kinds, settings))


def collect(settings: Mapping[str, Any]) -> None:
    """Read the replicator, and write down what was read, the metrics and the mail that the settings ask for."""
    reading = look(settings)
    now = reading.snapshot
    history = past(settings, now) if settings.get("mail_to") else []
    ring.remember(below(settings, PAST), now)
    write_whole(below(settings, LAST), json.dumps(dict(reading._asdict(), snapshot=now._asdict())))
    if settings.get("textfile"):
        write_whole(settings["textfile"], metrics_of(reading, settings))
    if settings.get("mail_to"):
        tell_changes(settings, lasting(now, settings, history))
    if reading.problem:
        sys.stderr.write(reading.problem + "\n")


def last_reading(settings: Mapping[str, Any], now: float) -> Reading:
    """Return the last Reading, one without an answer where it is too old; raise OSError or ValueError without one."""
    with open(below(settings, LAST)) as stream:
        reading = reading_in(json.load(stream))
    age = int(now) - reading.snapshot.time
    # Of two looks one may be missed.
    if age <= 2 * settings.get("interval", INTERVAL) + SPARE:
        return reading
    problem = "the last look at the replicator was %d seconds ago. Next step: run `systemctl status %s`" % (age, TIMER)
    return Reading(Snapshot(time=reading.snapshot.time), None, [], problem)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Read Dovecot's replicator once, and write down what it says.")
    parser.add_argument("--config", default=CONFIG, help="the file that the role monitoring writes (%(default)s)")
    parser.add_argument("--now", action="store_true", help="ask the replicator, not for what was written last")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--check", action="store_true", help="answer as a plugin of Nagios: a line and an exit code")
    kinds.add_argument("--checkmk", action="store_true", help="answer as a local check of Checkmk")
    kinds.add_argument("--json", action="store_true", help="answer in JSON")
    kinds.add_argument(
        "--prom", metavar="FILE", help="write metrics for node_exporter's textfile collector into a file"
    )
    options = parser.parse_args(arguments)
    asked = options.check or options.checkmk or options.json or options.prom
    try:
        settings = read_settings(options.config)
        if not asked:
            collect(settings)
            return OK
        reading = look(settings) if options.now else last_reading(settings, time.time())
        history = past(settings, reading.snapshot)
        if options.prom:
            write_whole(options.prom, metrics_of(reading, settings))
            return OK if reading.overview is not None else UNKNOWN
    except (OSError, ValueError, KeyError, TypeError) as error:
        settings, history = {}, []
        reading = Reading(Snapshot(time=int(time.time())), None, [], "%s: %s" % (type(error).__name__, error))
        if not asked:
            sys.stderr.write(reading.problem + "\n")
            return UNKNOWN
    return answer(options, settings, reading, history)


def answer(
    options: argparse.Namespace, settings: Mapping[str, Any], reading: Reading, history: Sequence[Snapshot]
) -> int:
    """Print what was asked for, and return the exit code."""
    told = true_now(reading.snapshot, settings, history) if reading.overview is not None else []
    state = state_of(reading, told)
    if options.json:
        sys.stdout.write(as_json(reading, state, told) + "\n")
        return state
    numbers, text = perfdata(reading, settings), sentence(reading, told)
    if options.checkmk:
        sys.stdout.write("%d %s %s %s\n" % (state, SERVICE, "|".join(numbers) or "-", text))
        # The agent takes the state from the line.
        return OK
    sys.stdout.write("%s - %s%s\n" % (WORDS[state], text, " | " + " ".join(numbers) if numbers else ""))
    return state
