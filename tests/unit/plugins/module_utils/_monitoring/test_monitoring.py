# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a monitor counts, remembers and tells, and that it agrees with what the modules and `verify` say."""

import json
import random

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring import collector, ring
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.conditions import (
    CONDITIONS,
    lasting,
    true_now,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.metrics import (
    HELP,
    exposition,
    of_replicator,
    of_verification,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import (
    Snapshot,
    snapshot_of,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    encode_line,
    parse_users,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.summary import summarized
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _diagnosis

NOW = 1795984107
HEALTHY = Snapshot(time=NOW, up=True, known=100, oldest_full_sync=NOW - 3600)
SETTINGS = {"full_sync_interval": 86400, "max_conns": 10, "version": "2.3.19.1", "peer": 'tcp:mx2"\\'}
OVERVIEW = {"queued_sync": 0, "queued_high": 2, "queued_low": 1, "queued_failed": 3, "queued_full_resync": 4}


def rows(*users):
    return [encode_line(*map(str, fields)).rstrip(b"\n") for fields in users]


def a_list(seed):
    """A list of users as a replicator may have it."""
    chance = random.Random(seed)
    return rows(
        *(
            (
                f"user{number}\t@x" if chance.random() < 0.1 else f"user{number}",
                chance.choice(["none", "low", "high", "sync"]),
                chance.choice([0, NOW - chance.randrange(90000)]),
                chance.choice([0, NOW - chance.randrange(90000)]),
                chance.choice([0, 1]),
                NOW - chance.randrange(90000),
                chance.randrange(100),
            )[: chance.choice([6, 7])]
            for number in range(chance.choice([0, 1, 50]))
        )
    )


@pytest.mark.parametrize("seed", range(30))
def test_it_counts_as_the_modules_do(seed):
    lines = a_list(seed)
    slots = [DsyncSlot("user1", "full"), DsyncSlot("user3", "normal"), DsyncSlot()]
    summary = summarized(parse_users(lines, NOW).values(), slots, False)
    seen = snapshot_of(lines, slots, NOW, False)
    assert (seen.known, seen.failing, seen.queued, seen.running, seen.never_synced) == tuple(
        summary[name] for name in ("known_users", "failing", "queued", "running", "never_synced")
    )
    oldest = None if seen.oldest_full_sync is None else NOW - seen.oldest_full_sync
    assert oldest == summary["oldest_full_sync_age"]


def test_the_sync_that_runs_longest():
    """A full one since its start as such, others since the last sync began; a name may need escapes."""
    lines = rows(("a", "none", NOW - 5, NOW - 9000, 0, 0), ("b\tc", "none", NOW - 70, NOW - 800, 0, 0))
    slots = [DsyncSlot("a", "normal"), DsyncSlot("b\tc", "incremental")]
    assert snapshot_of(lines, slots, NOW, False).longest_running == 70
    assert snapshot_of(lines, [DsyncSlot("b\tc", "full")], NOW, False).longest_running == 800
    assert snapshot_of(lines, [], NOW, False).longest_running == 0


@pytest.mark.parametrize("line", [b"", b"a\tnone\t0\t0", b"a\tnone\t0\t0\ty\t0"])
def test_what_is_no_row(line):
    with pytest.raises(ValueError):
        snapshot_of([line], [], NOW, False)


def test_the_text_of_metrics():
    samples = of_replicator(HEALTHY, OVERVIEW, ["full", None], SETTINGS)
    text = exposition(samples + of_verification(NOW, {("a", "error"): True}, {"to_peer": 0.2}, 100))
    assert text.endswith("\n") and 'peer="tcp:mx2\\"\\\\"' in text
    assert 'dovecot_replicator_running_syncs{type="full"} 1' in text.splitlines()
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# HELP")]
    assert sorted(names) == sorted(set(names)) == sorted(HELP)
    for name in HELP:
        assert text.count(f"# TYPE {name} gauge\n") == 1


def test_nothing_is_said_of_what_did_not_answer():
    text = exposition(of_replicator(Snapshot(time=NOW), None, [], SETTINGS))
    assert "dovecot_replicator_up 0\n" in text and "_users" not in text


def test_the_ring(tmp_path):
    path = str(tmp_path / "ring")
    assert ring.recall(path, NOW, 600) == []
    snapshots = [
        HEALTHY._replace(time=NOW - 60 * age, failing=age, on_hold=age == 2, deaf=age == 3) for age in range(5, -1, -1)
    ]
    for snapshot in snapshots:
        ring.remember(path, snapshot)
    assert ring.recall(path, NOW, 600) == snapshots
    assert ring.recall(path, NOW, 120) == snapshots[-3:]
    assert ring.recall(path, NOW, 30 * 86400) == snapshots
    assert (tmp_path / "ring").stat().st_size < 2_000_000
    # A record that was written by half is none, and what is 30 days old is not of now.
    with open(path, "r+b") as stream:
        stream.seek((NOW // 60 - 1) % ring.LENGTH * ring.RECORD.size)
        stream.write(b"torn")
    assert len(ring.recall(path, NOW, 600)) == 5
    assert ring.recall(path, NOW + 30 * 86400, 600) == []
    huge = HEALTHY._replace(failing=1 << 40, longest_running=1 << 20, running=1000)
    assert ring.decoded(ring.encoded(huge)).running == 255


def test_a_long_time_in_a_few_moments():
    """Each has the worst of its part; one of which nothing is known is not up."""
    minutes = [HEALTHY._replace(time=NOW + 60 * minute, failing=int(minute == 17)) for minute in range(1000)]
    del minutes[500:600]
    thinned = ring.thinned(minutes, 100)
    assert len(thinned) == 100 and sum(one.failing for one in thinned) == 1
    assert [one.up for one in thinned].count(False) == 10
    assert ring.thinned([], 100) == [] and ring.thinned(minutes[:1], 100) == minutes[:1]


def names(told):
    return [item.condition.name.replace("DovecotReplication", "") for item in told]


@pytest.mark.parametrize(
    "changed, expected",
    [
        ({}, []),
        ({"failing": 1}, ["UsersFailing"]),
        ({"failing": 11}, ["ManyUsersFailing", "UsersFailing"]),
        ({"known": 4, "failing": 1}, ["UsersFailing"]),
        ({"longest_running": 601, "running": 1}, ["SyncStuck"]),
        ({"longest_running": 601, "running": 1, "running_full": 1}, []),
        ({"oldest_full_sync": NOW - 86400 - 7201}, ["FullSyncOverdue"]),
        ({"oldest_full_sync": NOW - 86400 - 7201, "on_hold": True}, ["OnHold"]),
        ({"oldest_full_sync": None}, []),
        ({"queued": 5, "running": 5}, []),
        ({"deaf": True}, ["ChangesNotTold"]),
        ({"up": False}, ["DovecotReplicatorDown"]),
    ],
)
def test_what_is_told_of_one_look(changed, expected):
    assert names(true_now(HEALTHY._replace(**changed), SETTINGS, [])) == expected


def test_a_standing_queue_takes_more_than_one_look():
    standing = HEALTHY._replace(queued=3)
    history = [standing._replace(time=NOW - 60 * age) for age in range(15, 0, -1)]
    assert names(true_now(standing, SETTINGS, history)) == ["QueueStanding"]
    assert true_now(standing, SETTINGS, history[1:]) == []
    assert true_now(standing, SETTINGS, history[:5] + history[9:]) == []
    moving = [*history[:10], HEALTHY._replace(time=history[10].time), *history[11:]]
    assert true_now(standing, SETTINGS, moving) == []


def test_a_mail_waits_as_an_alert_does():
    failing = HEALTHY._replace(failing=1)
    history = [failing._replace(time=NOW - 60 * age) for age in range(15, 0, -1)]
    assert names(lasting(failing, SETTINGS, history)) == ["UsersFailing"]
    assert lasting(failing, SETTINGS, history[1:]) == []


def test_a_mail_is_written_once_for_each_change(tmp_path):
    settings = {"state_dir": str(tmp_path), "mail_to": "root@example.org"}
    told = true_now(HEALTHY._replace(failing=1), SETTINGS, [])
    mail = tmp_path / "mail"
    collector.tell_changes(settings, [])
    assert not mail.exists()
    collector.tell_changes(settings, told)
    assert "UsersFailing" in mail.read_text() and mail.read_text().startswith("To: root@example.org\n")
    mail.unlink()
    collector.tell_changes(settings, told)
    assert not mail.exists()
    collector.tell_changes(settings, [])
    assert "all is well again" in mail.read_text()


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "x"
    collector.write_whole(str(path), "before")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collector.os, "fsync", full)
    with pytest.raises(OSError):
        collector.write_whole(str(path), "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def run(tmp_path, capsys, *arguments, settings=None):
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"state_dir": str(tmp_path), "socket": "/nonexistent", "hold_file": "/no"}))
    code = collector.main(["--config", str(config), *arguments])
    return code, capsys.readouterr().out


def test_what_cannot_be_asked_is_unknown(tmp_path, capsys):
    for arguments, code, begins in (
        (["--check"], 3, "UNKNOWN - "),
        (["--check", "--now"], 3, "UNKNOWN - Connecting to /nonexistent"),
        (["--checkmk"], 0, "3 Dovecot_replication - "),
        (["--json"], 3, "{"),
        ([], 0, ""),
        (["--check"], 3, "UNKNOWN - Connecting to /nonexistent"),
    ):
        got, text = run(tmp_path, capsys, *arguments)
        assert (got, text.startswith(begins), text.count("\n")) == (code, True, 1 if arguments else 0), text
    assert collector.main(["--config", "/nonexistent", "--check"]) == 3


def test_conditions_mean_what_findings_mean():
    rules = {rule.id: rule for rule in _diagnosis.RULES + _diagnosis.PAIR_RULES}
    named = [condition for condition in CONDITIONS if condition.finding]
    assert len({condition.name for condition in CONDITIONS}) == len(CONDITIONS) and len(named) > 5
    assert {condition.finding for condition in named} <= set(rules)
