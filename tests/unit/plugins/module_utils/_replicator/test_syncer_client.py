# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer as the modules see a replicator: the real database, and a systemctl that is a list."""

import fcntl
import os
import time

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.syncer_client import (
    Syncer,
    TimerClient,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Store

NOW = int(time.time())


class Systemd:
    def __init__(self, status=0):
        self.status, self.started = status, 0

    def __call__(self, argv):
        assert argv[:2] == ["systemctl", "start"]
        self.started += 1
        return self.status, "", "Unit not found" if self.status else ""


@pytest.fixture
def systemd():
    return Systemd()


def settings_in(directory):
    hold = str(directory / "hold")
    return Settings("tcp:mx2", ["doveadm"], 60, 2, 600, 30, 86400, hold, str(directory), [], "timer", 3600, "/run/x")


@pytest.fixture
def client(tmp_path, systemd):
    return TimerClient(Syncer(settings_in(tmp_path)), systemd)


@pytest.fixture
def kept(client):
    return Store(client._syncer.settings.database)


def synced(kept, name, failed=False, ago=5):
    kept.request([name], 1)
    asked = kept.begin(0, name, True)
    began = NOW - ago
    values = dict(fast=began, full=began, failed=failed, problem="Error: x" if failed else "")
    kept.end(0, name, asked, dict(values, success=0 if failed else began), "" if failed else "S")


def test_a_request_is_a_row_and_a_start(client, kept, systemd):
    client.replicate(["a", "b"], "high")
    assert systemd.started == 1 and {row.priority for row in client.users().values()} == {"high"}
    assert client.overview()["queued_high"] == 2 and client.overview()["known_users"] == 2
    client.replicate([], "low")
    assert systemd.started == 1


def test_a_lower_priority_lowers_nothing(client):
    client.replicate(["a"], "high")
    client.replicate(["a"], "low")
    assert client.users()["a"].priority == "high"


def test_a_row_tells_what_a_replicator_would(client, kept):
    synced(kept, "a")
    synced(kept, "b", failed=True)
    began = int(time.time())
    kept.note(round_began=began, round_ended=began)
    good, bad = client.users()["a"], client.users()["b"]
    assert good.successful_sync.time == good.full_sync.time == NOW - 5 and not good.failed
    assert bad.failed and bad.successful_sync.time is None
    assert began + 60 - time.time() - 1 <= good.next_sync <= 60
    assert client.problems(["a", "b", "c"]) == {"b": "Error: x"}
    assert client.overview()["waiting_failed"] == 1


def test_a_full_sync_forgets_the_state(client, kept):
    synced(kept, "a")
    assert kept.state("a") == "S"
    client.start_over("a", "high")
    assert kept.state("a") == "" and client.users()["a"].full_sync.time is None


def test_those_whom_the_peer_lacks_are_not_on_the_list(client, kept):
    synced(kept, "a")
    kept.end(0, "a", 0, {"missing": 1})
    assert client.users() == {} and client._syncer.missing() == ["a"]
    client.replicate(["a"], "low")
    assert set(client.users()) == {"a"}


def test_slots_are_there_always_and_busy_only_while_a_run_has_its_lock(client, kept):
    """A run that was killed leaves rows behind."""
    kept.begin(1, "a", True)
    assert [slot.username for slot in client.dsyncs()] == [None, None]
    with open(client._syncer.settings.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [(slot.username, slot.type) for slot in client.dsyncs()] == [(None, None), ("a", "full")]
    assert [slot.username for slot in client.dsyncs()] == [None, None]


def test_a_request_that_an_ending_run_has_overlooked(client, kept, systemd):
    kept.request(["a"], 1)
    client.users()
    assert systemd.started == 1
    client.users()
    assert systemd.started == 1, "not at each look"
    with open(client._syncer.settings.lock, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client._started = None
        client.users()
    assert systemd.started == 1, "a run that goes on sees it"


def test_on_hold_nothing_is_started(client, systemd):
    open(client._syncer.settings.hold_file, "w").close()
    client.replicate(["a"], "low")
    assert client._syncer.on_hold() and systemd.started == 0 and client.users()["a"].priority == "low"


def test_a_service_that_is_not_there(tmp_path):
    settings = settings_in(tmp_path)
    with pytest.raises(DovecotError, match="Starting dovecot-replication.service failed: Unit not found.*setup"):
        TimerClient(Syncer(settings), Systemd(status=5)).replicate(["a"], "low")


def test_a_database_that_is_not_there(tmp_path, systemd):
    settings = settings_in(tmp_path / "nosuch")
    with pytest.raises(DovecotError, match="playbook setup has not been run"):
        TimerClient(Syncer(settings), systemd).users()


def test_masks(client, kept):
    for name in ("a@x", "b@x", "a@y"):
        synced(kept, name)
    assert set(client.users("a@*")) == {"a@x", "a@y"} and set(client.names("?@x")) == {"a@x", "b@x"}
    client.remove(["a@x", "nobody"])
    assert set(client.users("*@x")) == {"b@x"}


def test_who_is_kept_out_is_not_on_the_list(client, kept):
    """Nor before the next round, which takes them out of the database."""
    for name in ("a@x", "b@y"):
        synced(kept, name)
    without = TimerClient(Syncer(client._syncer.settings._replace(kept_out=["*@x"])), Systemd())
    assert set(without.users()) == {"b@y"} and set(client.users()) == {"a@x", "b@y"}


def test_nobody_else_may_read_the_names(client):
    client.users()
    assert os.stat(client._syncer.settings.database).st_mode & 0o7 == 0
