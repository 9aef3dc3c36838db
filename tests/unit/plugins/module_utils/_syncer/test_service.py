# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service answers, and what it makes of events; it is run as a whole on live hosts."""

import asyncio
import json
import sqlite3
import time

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import protocol
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import replies, service
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.scheduler import Scheduler
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry, Store

NOW, SWEEP_DUE = 100.0, 400.0
ODD = b"t\tab\xff\x01n\n".decode("utf-8", "surrogateescape")


def entry(name, **known):
    return Entry(name, 0, 0, 0, 0, False, 0, "", False)._replace(**known)


@pytest.fixture
def scheduler():
    made = Scheduler(2)
    made.know([entry("alice", fast=10, full=10, success=11), entry("bob", fast=5, failed=True), entry(ODD)], NOW)
    return made


def lines(answer):
    return answer.split(b"\n")[:-2]


def test_rows_are_what_the_modules_read(scheduler):
    """Names of any bytes come back as they were."""
    rows = protocol.parse_users(lines(replies.status(scheduler, "*", NOW, SWEEP_DUE)), 20)
    assert set(rows) == {"alice", "bob", ODD}
    assert rows["alice"].full_sync.time == 10 and rows["alice"].next_sync == 300 and not rows["alice"].failed
    assert rows["bob"].failed and rows["bob"].next_sync == 0 and rows[ODD].fast_sync == protocol.NEVER
    scheduler.changed("alice")
    (row,) = protocol.parse_users(lines(replies.status(scheduler, "al?ce", NOW, SWEEP_DUE)), 20).values()
    assert row.priority == "low"
    assert replies.status(scheduler, "nobody", NOW, SWEEP_DUE) == b"\n"


def test_the_overview(scheduler):
    found = protocol.parse_overview(lines(replies.overview(scheduler, NOW)))
    assert found["known_users"] == 3 and found["queued_failed"] == 1 and found["queued_full_resync"] == 1
    scheduler.request("alice", 2, NOW)
    assert protocol.parse_overview(lines(replies.overview(scheduler, NOW)))["queued_high"] == 1


def test_who_the_peer_lacks_is_not_on_the_list(scheduler):
    scheduler.users["bob"].entry = scheduler.users["bob"].entry._replace(missing=True)
    assert replies.counts(scheduler, NOW)["known_users"] == 2
    assert b"bob" not in replies.status(scheduler, "*", NOW, SWEEP_DUE)


def test_all_slots_are_told(scheduler):
    slots = protocol.parse_slots(lines(replies.dsyncs(3, {1: ("alice", "full")})))
    assert [slot.username for slot in slots] == [None, "alice", None] and slots[1].type == "full"


@pytest.mark.parametrize(
    "fields, unknown",
    [
        (["ADD", "alice"], None),
        (["ADD", "nobody"], "nobody"),
        (["ADD", "*"], "*"),
        (["REPLICATE", "low", "", "nobody"], "nobody"),
        (["REPLICATE", "low", "", "no*"], None),
        (["REPLICATE", "nobody"], None),
        (["STATUS", "nobody"], None),
        (["REMOVE", "nobody"], None),
    ],
)
def test_what_the_userdb_is_asked_for(scheduler, fields, unknown):
    assert replies.unknown_in(fields, scheduler) == unknown


def event(user, name="push_notification_finished"):
    return json.dumps({"event": name, "fields": {"user": user, "reason_code": ["x"]}}).encode()


def test_events():
    assert service.users_in([event("alice"), b"", event("alice"), event("bob")]) == {"alice", "bob"}
    assert service.users_in([event("alice", service.OF_A_SYNC)]) == {""}
    raw = b'{"event": "push_notification_finished", "fields": {"user": "a\xffb"}}'
    assert service.users_in([raw]) == {"a\udcffb"}
    with pytest.raises(ValueError):
        service.users_in([b'{"event": "push_noti'])


def begun(settings, said, boot, tmp_path):
    """A service that has begun, with what it keeps."""
    store = Store(settings.database)
    made = service.Service(settings, store, "config", say=said.append)
    service.BOOT = str(tmp_path / "boot")
    (tmp_path / "boot").write_text(boot)
    made._begin()
    return made, store


def test_after_a_power_cut_everyone_is_compared_in_full(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "BOOT", "")
    said = []
    dummy, store = begun(settings, said, "first", tmp_path)
    store.request(["alice"], 1)
    store.end(0, "alice", store.begin(0, "alice", True), {"full": 5, "fast": 5}, "STATE")
    store.close()
    made, store = begun(settings, said, "first", tmp_path)
    assert store.state("alice") == "STATE" and made._scheduler.users["alice"].entry.full == 5, "it was only killed"
    store.close()
    made, store = begun(settings, said, "second", tmp_path)
    assert store.state("alice") == "" and made._scheduler.users["alice"].entry.full == 0 and "in full" in said[-1]
    store.note(clean=1)
    store.end(0, "alice", store.begin(0, "alice", True), {"full": 5, "fast": 5}, "STATE")
    store.close()
    dummy, store = begun(settings, said, "third", tmp_path)
    assert store.state("alice") == "STATE", "it was stopped, and the host went down in order"


def test_a_full_disk_is_told_once_and_survived(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "BOOT", "")
    said = []
    made, dummy = begun(settings, said, "x", tmp_path)

    def full():
        raise sqlite3.OperationalError("database or disk is full")

    assert made._kept(full, 7) == 7 and made._kept(full, 8) == 8
    assert len([line for line in said if "nothing can be written" in line]) == 1


def test_users_who_are_kept_out(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "BOOT", "")
    made, store = begun(settings._replace(kept_out=["spam@*"]), [], "x", tmp_path)
    made._scheduler.add(["alice"])
    monkeypatch.setattr(made, "_wake", type("Event", (), {"set": lambda self: None})(), raising=False)
    made._heard({"alice", "spam@x", ""})
    assert list(made._scheduler.users) == ["alice"] and [name for dummy, name in store.requested()] == ["alice"]


def test_a_service_that_is_not_told_says_so(settings, tmp_path, monkeypatch):
    """To those who watch it, until it hears again."""
    monkeypatch.setattr(service, "BOOT", "")
    made, dummy = begun(settings, [], "x", tmp_path)
    made._sweep_due, made._unheard = float("inf"), service.UNHEARD
    monkeypatch.setattr(made, "_task", lambda work: work.close())
    made._look()
    assert json.loads(open(settings.reading).read())["snapshot"]["deaf"]
    made._heard({""})
    made.tell()
    assert not json.loads(open(settings.reading).read())["snapshot"]["deaf"]


def test_the_list_is_told_as_soon_as_it_is_there(settings, tmp_path, monkeypatch):
    """What a service tells right after its start knows of nobody."""
    monkeypatch.setattr(service, "BOOT", "")
    made, dummy = begun(settings, [], "x", tmp_path)
    made._sweep_due = time.monotonic() + 3600
    made._loop = asyncio.new_event_loop()
    made._wake = asyncio.Event()
    made.listing = lambda: (["alice", "bob"], "")
    for known in (0, 2):
        made._look()
        assert json.loads(open(settings.reading).read())["snapshot"]["known"] == known
        made._loop.run_until_complete(made._sweep())
    made._loop.close()
