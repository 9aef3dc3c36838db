# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics in the text format of Prometheus, for node_exporter's textfile collector. Pure. PRIVATE to this collection.

No label names a user. A value that cannot be asked for is left out, and ``up`` is 0 then.
"""

from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import Snapshot

REPLICATOR, REPLICATION = "dovecot_replicator_", "dovecot_replication_"
HELP = {
    "dovecot_replicator_up": "Whether the replicator answered.",
    "dovecot_replicator_collected_timestamp_seconds": "When these metrics were read.",
    "dovecot_replicator_known_users": "Users on the replicator's list.",
    "dovecot_replicator_userdb_users": "Users whom the userdb listed when verify ran last.",
    "dovecot_replicator_failing_users": "Users whose last sync failed, counted from the list.",
    "dovecot_replicator_never_synced_users": "Users without any sync.",
    "dovecot_replicator_queued_users": "Users in the queues, as Dovecot's overview counts them.",
    "dovecot_replicator_due_users": "Users to be synced again without a change, as Dovecot's overview counts them.",
    "dovecot_replicator_running_syncs": "Syncs under way.",
    "dovecot_replicator_longest_running_sync_seconds": "Age of the oldest sync under way, 0 without one.",
    "dovecot_replicator_oldest_full_sync_timestamp_seconds": "Start of the full sync that is longest ago.",
    "dovecot_replicator_full_sync_interval_seconds": "replication_full_sync_interval when monitoring was set up.",
    "dovecot_replicator_max_connections": "replication_max_conns when monitoring was set up.",
    "dovecot_replicator_on_hold": "Whether the playbook drain holds replication.",
    "dovecot_replicator_deaf": "Whether Dovecot 2.4 tells the service of no change of mail.",
    "dovecot_replicator_info": "Version of Dovecot and the peer when monitoring was set up.",
    "dovecot_replication_verified_timestamp_seconds": "When verify ran last.",
    "dovecot_replication_probe_seconds": "How long the last verify waited for its mail to arrive.",
    "dovecot_replication_finding": "Whether the last verify found this.",
}
KINDS = ("full", "normal", "incremental")
# Counters of Dovecot's overview, by priority and by reason.
QUEUES = {"sync": "queued_sync", "high": "queued_high", "low": "queued_low"}
DUE = {"failed": "queued_failed", "full_resync": "queued_full_resync"}

Labels = Mapping[str, str]
# Name, labels and value.
Sample = Tuple[str, Labels, Any]


def of_replicator(
    snapshot: Snapshot,
    overview: Optional[Mapping[str, int]],
    kinds: Iterable[Optional[str]],
    settings: Mapping[str, Any],
) -> List[Sample]:
    """Return the samples about a replicator.

    :arg overview: as ``protocol.parse_overview`` returns it; None where the replicator has not answered
    :arg kinds: of the running syncs
    :arg settings: ``version``, ``peer``, ``full_sync_interval`` in seconds and ``max_conns``, as far as they are known
    """
    samples: List[Sample] = [
        (REPLICATOR + "up", {}, int(snapshot.up)),
        (REPLICATOR + "collected_timestamp_seconds", {}, snapshot.time),
        (REPLICATOR + "on_hold", {}, int(snapshot.on_hold)),
    ]
    about = {name: str(settings[name]) for name in ("version", "peer") if settings.get(name)}
    samples += [(REPLICATOR + "info", about, 1)] if about else []
    for setting, name in (
        ("full_sync_interval", "full_sync_interval_seconds"),
        ("max_conns", "max_connections"),
    ):
        if settings.get(setting) is not None:
            samples.append((REPLICATOR + name, {}, settings[setting]))
    if overview is None:
        return samples
    running = list(kinds)
    samples += [
        (REPLICATOR + "known_users", {}, snapshot.known),
        (REPLICATOR + "failing_users", {}, snapshot.failing),
        (REPLICATOR + "never_synced_users", {}, snapshot.never_synced),
        (REPLICATOR + "longest_running_sync_seconds", {}, snapshot.longest_running),
        (REPLICATOR + "deaf", {}, int(snapshot.deaf)),
    ]
    samples += [(REPLICATOR + "queued_users", {"priority": name}, overview[QUEUES[name]]) for name in QUEUES]
    samples += [(REPLICATOR + "due_users", {"reason": name}, overview[DUE[name]]) for name in DUE]
    samples += [(REPLICATOR + "running_syncs", {"type": kind}, running.count(kind)) for kind in KINDS]
    if snapshot.oldest_full_sync is not None:
        samples.append((REPLICATOR + "oldest_full_sync_timestamp_seconds", {}, snapshot.oldest_full_sync))
    return samples


def of_verification(
    time: int, findings: Mapping[Tuple[str, str], bool], probes: Mapping[str, float], userdb_users: Optional[int]
) -> List[Sample]:
    """Return the samples that ``verify`` gives about a host.

    :arg findings: whether there is a finding, by its id and severity; all that there are
    :arg probes: seconds that a mail needed, by ``direction``: ``to_peer`` or ``from_peer``
    """
    samples: List[Sample] = [(REPLICATION + "verified_timestamp_seconds", {}, time)]
    if userdb_users is not None:
        samples.append((REPLICATOR + "userdb_users", {}, userdb_users))
    samples += [(REPLICATION + "probe_seconds", {"direction": name}, probes[name]) for name in sorted(probes)]
    samples += [
        (REPLICATION + "finding", {"id": name, "severity": severity}, int(findings[name, severity]))
        for name, severity in sorted(findings)
    ]
    return samples


def exposition(samples: Sequence[Sample]) -> str:
    r"""Return samples as text: each name once with its HELP and TYPE, all its samples below it.

    >>> exposition([("dovecot_replicator_up", {}, 1)]).splitlines()[2]
    'dovecot_replicator_up 1'
    """
    by_name: Dict[str, List[str]] = {}
    for name, labels, value in samples:
        shown = ",".join('%s="%s"' % (label, _escaped(labels[label])) for label in sorted(labels))
        by_name.setdefault(name, []).append("%s%s %s\n" % (name, "{%s}" % shown if shown else "", value))
    return "".join(
        "# HELP %s %s\n# TYPE %s gauge\n%s" % (name, HELP[name], name, "".join(by_name[name])) for name in by_name
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
