# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a monitor tells, once for all: alerts of Prometheus, the check for Nagios, mails. Pure. PRIVATE.

Where a condition means the same as a finding of ``verify`` it has that finding's id. Each has a section of its own in
docs/troubleshooting.md.
"""

from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import Snapshot

INFO, WARNING, CRITICAL = "info", "warning", "critical"
MINUTES, HOURS, DAYS = 60, 3600, 86400
# A sync that takes longer is stuck; a full one may take its time.
STUCK, STUCK_FULL = 10 * MINUTES, 2 * HOURS
# How late full syncs may be.
GRACE = 2 * HOURS
# So many percent of the users failing are many.
MANY = 10
# How far apart two looks of a collector that runs each minute may be.
PAUSE = 150


class Condition(NamedTuple):
    """One thing to tell.

    :arg name: of the alert
    :arg severity: INFO, WARNING or CRITICAL
    :arg seconds: for how long it must be true
    :arg keep: for how many seconds the alert goes on after it is not true any more
    :arg finding: id of the finding that means the same, empty where there is none
    :arg expression: in PromQL
    :arg summary: what is wrong, a sentence
    :arg look: returns the evidence in a Snapshot and the settings, empty where it is not true; None where only
        Prometheus can tell
    :arg lasts: whether a single look tells nothing
    """

    name: str
    severity: str
    seconds: int
    finding: str
    expression: str
    summary: str
    look: Optional[Callable[[Snapshot, Mapping[str, Any]], str]]
    keep: int = 0
    lasts: bool = False


def _down(now: Snapshot, settings: Mapping[str, Any]) -> str:
    return "" if now.up else "the replicator does not answer"


def _failing(now: Snapshot, settings: Mapping[str, Any]) -> str:
    return "%d of %d users" % (now.failing, now.known) if now.failing else ""


def _many_failing(now: Snapshot, settings: Mapping[str, Any]) -> str:
    many = now.failing > 1 and now.failing * 100 > now.known * MANY
    return "%d of %d users" % (now.failing, now.known) if many else ""


def _standing(now: Snapshot, settings: Mapping[str, Any]) -> str:
    stands = now.queued and not now.running and not now.on_hold
    return "%d users are queued and no sync is running" % now.queued if stands else ""


def _stuck(now: Snapshot, settings: Mapping[str, Any]) -> str:
    limit = STUCK_FULL if now.running_full else STUCK
    return "one has been running for %d seconds" % now.longest_running if now.longest_running > limit else ""


def _deaf(now: Snapshot, settings: Mapping[str, Any]) -> str:
    return "it has not heard of its own syncs" if now.deaf else ""


def _overdue(now: Snapshot, settings: Mapping[str, Any]) -> str:
    interval = settings.get("full_sync_interval")
    if not interval or now.oldest_full_sync is None or now.on_hold:
        return ""
    age = now.time - now.oldest_full_sync
    return "the oldest one is %d hours old" % (age // HOURS) if age > interval + GRACE else ""


def _held(now: Snapshot, settings: Mapping[str, Any]) -> str:
    return "the playbook drain has set it on hold" if now.on_hold else ""


CONDITIONS = [
    Condition(
        "DovecotReplicatorDown",
        CRITICAL,
        5 * MINUTES,
        "replicator_unreachable",
        "dovecot_replicator_up == 0",
        "The replicator does not answer, so no change of mail is replicated from this host.",
        _down,
    ),
    Condition(
        "DovecotReplicationManyUsersFailing",
        CRITICAL,
        10 * MINUTES,
        "users_failing",
        "dovecot_replicator_failing_users > 1 and "
        "dovecot_replicator_failing_users > dovecot_replicator_known_users * %d / 100" % MANY,
        "The syncs of many users fail: most likely the peer, its password or the network.",
        _many_failing,
    ),
    Condition(
        "DovecotReplicationQueueStanding",
        CRITICAL,
        15 * MINUTES,
        "queue_standing",
        "sum without (priority) (dovecot_replicator_queued_users) > 0 "
        "and sum without (type) (dovecot_replicator_running_syncs) == 0 and dovecot_replicator_on_hold == 0",
        "Changes are queued and no sync is started.",
        _standing,
        lasts=True,
    ),
    Condition(
        "DovecotReplicationUsersFailing",
        WARNING,
        15 * MINUTES,
        "users_failing",
        "dovecot_replicator_failing_users > 0",
        "The syncs of users fail.",
        _failing,
        keep=10 * MINUTES,
    ),
    Condition(
        "DovecotReplicationQueueGrowing",
        WARNING,
        30 * MINUTES,
        "",
        "sum without (priority) (dovecot_replicator_queued_users) > 0 "
        "and deriv(sum without (priority) (dovecot_replicator_queued_users)[30m:1m]) > 0 "
        "and dovecot_replicator_on_hold == 0",
        "The queue has grown for half an hour.",
        None,
    ),
    Condition(
        "DovecotReplicationSyncStuck",
        WARNING,
        0,
        "syncs_stuck",
        "dovecot_replicator_longest_running_sync_seconds > %d or "
        "(dovecot_replicator_longest_running_sync_seconds > %d and ignoring (type) "
        'dovecot_replicator_running_syncs{type="full"} == 0)' % (STUCK_FULL, STUCK),
        "A sync does not end, and takes a connection from others: the peer does not answer.",
        _stuck,
    ),
    Condition(
        "DovecotReplicationChangesNotTold",
        WARNING,
        10 * MINUTES,
        "changes_not_told",
        "dovecot_replicator_deaf == 1",
        "Dovecot does not tell the service of changes, so mail waits for the next sync of everybody.",
        _deaf,
    ),
    Condition(
        "DovecotReplicationFullSyncOverdue",
        WARNING,
        0,
        "",
        "dovecot_replicator_collected_timestamp_seconds - dovecot_replicator_oldest_full_sync_timestamp_seconds "
        "> dovecot_replicator_full_sync_interval_seconds + %d and dovecot_replicator_full_sync_interval_seconds > 0 "
        "and dovecot_replicator_on_hold == 0" % GRACE,
        "The regular full syncs are late. This holds on a host that takes no mail, too.",
        _overdue,
    ),
    Condition(
        "DovecotReplicationUsersMissing",
        WARNING,
        30 * MINUTES,
        "",
        "dovecot_replicator_known_users < dovecot_replicator_userdb_users",
        "The replicator's list has fewer users than the userdb.",
        None,
    ),
    Condition(
        "DovecotReplicationFinding",
        CRITICAL,
        0,
        "",
        'dovecot_replication_finding{severity="error"} == 1',
        "The playbook verify has found {{ $labels.id }}, which keeps mail from being replicated.",
        None,
    ),
    Condition(
        "DovecotReplicationVerifyOld",
        WARNING,
        0,
        "",
        "time() - dovecot_replication_verified_timestamp_seconds > %d" % (2 * DAYS),
        "The playbook verify has not run for two days, so nothing proves that mail arrives.",
        None,
    ),
    Condition(
        "DovecotReplicationMetricsStale",
        WARNING,
        # A Prometheus that has just been started has no metrics yet, and with absent() one scrape that fails would do.
        2 * MINUTES,
        "",
        "time() - dovecot_replicator_collected_timestamp_seconds > %d or "
        "absent_over_time(dovecot_replicator_collected_timestamp_seconds[10m])" % (10 * MINUTES),
        "The collector has not run for ten minutes, so nobody would be told of anything else.",
        None,
    ),
    Condition(
        "DovecotReplicationOnHold",
        INFO,
        4 * HOURS,
        "on_hold",
        "dovecot_replicator_on_hold == 1",
        "Replication from this host is on hold.",
        _held,
    ),
]


class Told(NamedTuple):
    """A Condition that is true, with its evidence."""

    condition: Condition
    evidence: str


def true_now(now: Snapshot, settings: Mapping[str, Any], history: Sequence[Snapshot]) -> List[Told]:
    """Return what is true at this moment, worst first. What a single look cannot tell must have lasted.

    :arg history: Snapshots before this one, oldest first
    """
    found = []
    for condition in CONDITIONS:
        evidence = condition.look(now, settings) if condition.look and (now.up or condition.look is _down) else ""
        if evidence and (not condition.lasts or _has_lasted(condition, now, settings, history)):
            found.append(Told(condition, evidence))
    return found


def lasting(now: Snapshot, settings: Mapping[str, Any], history: Sequence[Snapshot]) -> List[Told]:
    """Return what has been true for as long as its condition wants."""
    return [told for told in true_now(now, settings, history) if _has_lasted(told.condition, now, settings, history)]


def _has_lasted(condition: Condition, now: Snapshot, settings: Mapping[str, Any], history: Sequence[Snapshot]) -> bool:
    look = condition.look
    if look is None:
        return False
    since = now.time
    for before in reversed(history):
        if since - before.time > PAUSE or not look(before, settings) or not (before.up or look is _down):
            break
        since = before.time
    return now.time - since >= condition.seconds
