# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is synced when, with a doveadm that is a table."""

import random
import threading
import time

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import engine, program, rounds, store

REFUSED = (75, "", "Error: connect(10.0.0.1:12345) failed: Connection refused")
SYNCED = (0, "STATE\n", "")


class Doveadm:
    """Answers by user; ``answers`` are lists of which the last one stays."""

    def __init__(self, users, **answers):
        self.users, self.answers = users, answers
        self.syncs, self.running, self.most, self.twice = [], set(), 0, False
        self.lock = threading.Lock()
        self.meanwhile = {}

    def __call__(self, argv, patience):
        if argv[1] == "user":
            known = argv[2] == "*" or argv[-1] in self.users
            return (0, "".join(name + "\n" for name in self.users), "") if known else (67, "", "no such user")
        name = argv[-2]
        with self.lock:
            self.twice |= name in self.running
            self.running.add(name)
            self.most = max(self.most, len(self.running))
            self.syncs.append((name, "-f" in argv))
            answers = self.answers.get(name, [SYNCED])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.meanwhile.pop(name, lambda: None)()
        time.sleep(0.002)
        with self.lock:
            self.running.discard(name)
        return answer

    @property
    def names(self):
        return [name for name, dummy in self.syncs]


def go(settings, doveadm):
    said = []
    kept = store.Store(settings.database)
    status = rounds.Round(settings, kept, doveadm, said.append).everything()
    return status, kept, said


def again(kept):
    """Have the next round be due now."""
    kept.note(round_began=0)


def test_everyone_is_synced_in_full_and_then_by_a_state(settings):
    doveadm = Doveadm(["a", "b", "c", "d", "e"])
    status, kept, said = go(settings, doveadm)
    assert status == 0 and sorted(doveadm.syncs) == [(name, True) for name in "abcde"]
    assert doveadm.most <= 3 and said[-1].endswith("5 synced")
    assert all(entry.full and entry.success and not entry.failed for entry in kept.entries().values())
    again(kept)
    doveadm.syncs.clear()
    go(settings, doveadm)
    assert sorted(doveadm.syncs) == [(name, False) for name in "abcde"]


def test_a_round_that_is_not_due(settings):
    doveadm = Doveadm(["a"])
    go(settings, doveadm)
    go(settings, doveadm)
    assert doveadm.names == ["a"]


def test_who_is_asked_for_comes_first(settings):
    doveadm = Doveadm(list("abcdefgh"))
    store.Store(settings.database).request(["g"], 1)
    store.Store(settings.database).request(["h"], 2)
    go(settings, doveadm)
    assert doveadm.names[:2] in (["h", "g"], ["g", "h"]) and sorted(doveadm.names) == list("abcdefgh")


def test_a_request_during_the_round_of_its_own_sync(settings):
    """The change may have come after the sync has looked: so there is another one."""
    doveadm = Doveadm(["a", "b"])
    doveadm.meanwhile["a"] = lambda: store.Store(settings.database).request(["a"], 1)
    dummy, kept, said = go(settings, doveadm)
    assert doveadm.names.count("a") == 2 and not kept.requested()
    assert not doveadm.twice


def test_who_goes_and_who_comes(settings):
    doveadm = Doveadm(["a", "b"])
    dummy, kept, said = go(settings, doveadm)
    again(kept)
    doveadm.users = ["b", "c"]
    go(settings, doveadm)
    assert set(kept.entries()) == {"b", "c"}


def test_a_userdb_that_does_not_answer(settings):
    """Those who are known are synced all the same, and nobody is forgotten."""
    doveadm = Doveadm(["a"])
    dummy, kept, said = go(settings, doveadm)
    again(kept)
    doveadm.users = []
    status, kept, said = go(settings, doveadm)
    assert status == 1 and "prints nothing" in said[0] and doveadm.names == ["a", "a"]
    assert kept.facts()["listing_problem"] and set(kept.entries()) == {"a"}


def test_mail_that_comes_meanwhile(settings):
    doveadm = Doveadm(["a", "b"], a=[(2, "", "desync"), SYNCED], b=[(2, "", "desync")])
    dummy, kept, said = go(settings, doveadm)
    entries = kept.entries()
    assert not entries["a"].failed and entries["b"].failed and doveadm.names.count("b") == engine.REPEATS
    # After any doubt everything is compared.
    assert kept.state("b") == ""


def test_a_user_whom_the_peer_lacks_is_no_failure(settings):
    doveadm = Doveadm(["a", "b"], a=[(67, "", "cmd sync: User doesn't exist")])
    status, kept, said = go(settings, doveadm)
    assert status == 0 and kept.entries()["a"].missing and not kept.entries()["a"].failed
    assert "the peer does not have this user" in said[0]


def test_a_user_who_has_gone_from_here(settings):
    doveadm = Doveadm(["a"], b=[(67, "", "cmd sync: User doesn't exist")])
    store.Store(settings.database).request(["b"], 1)
    dummy, kept, said = go(settings, doveadm)
    assert set(kept.entries()) == {"a"} and "this host does not have this user" in " ".join(said)


def test_an_outage_is_not_met_once_for_each_user(settings):
    users = [f"u{number:03}" for number in range(200)]
    doveadm = Doveadm(users, **{name: [REFUSED] for name in users})
    status, kept, said = go(settings, doveadm)
    assert status == 1 and len(doveadm.syncs) <= rounds.OUTAGES + settings.width
    assert all(entry.failed and "Connection refused" in entry.problem for entry in kept.entries().values())
    assert "Connection refused" in kept.facts()["round_problem"]
    # One that somebody asks for tells that the way is free.
    doveadm.answers["u000"] = [SYNCED]
    kept.request(["u000"], 1)
    go(settings, doveadm)
    assert kept.facts()["round_problem"] == "" and kept.entries()["u001"].failed
    # One round when the peer is back, and all is well.
    again(kept)
    doveadm.answers.clear()
    status, kept, said = go(settings, doveadm)
    assert status == 0 and not any(entry.failed for entry in kept.entries().values())
    assert kept.facts()["round_problem"] == ""


def test_a_command_that_cannot_be_started(settings):
    def nothing(argv, patience):
        if argv[1] == "user":
            return 0, "a\nb\n", ""
        raise FileNotFoundError(2, "No such file or directory")

    status, kept, said = go(settings, nothing)
    assert {entry.problem for entry in kept.entries().values()} == {"doveadm: [Errno 2] No such file or directory"}


def test_one_failing_user_keeps_nobody_waiting(settings):
    users = list("abcdef")
    doveadm = Doveadm(users, b=[(75, "", "Error: Couldn't lock")])
    status, kept, said = go(settings, doveadm)
    assert status == 0 and [name for name, entry in kept.entries().items() if entry.failed] == ["b"]


def test_hold_stops_a_round(settings, tmp_path):
    doveadm = Doveadm(list("abcdefghijklmnop"))
    doveadm.meanwhile["c"] = lambda: (tmp_path / "hold").write_text("")
    dummy, kept, said = go(settings, doveadm)
    assert len(doveadm.syncs) < 16


def test_after_a_kill_nothing_is_thought_to_run_or_to_be_done(settings):
    """Whoever waits for the sync goes on waiting."""
    kept = store.Store(settings.database)
    kept.request(["a"], 1)
    kept.begin(0, "a", True)
    assert kept.requested() == [(1, "a")]
    go(settings, Doveadm(["a"]))
    assert kept.slots() == {} and kept.entries()["a"].success


def test_a_full_comparison_each_day(settings):
    doveadm = Doveadm(["a"])
    dummy, kept, said = go(settings._replace(full_sync_interval=0), doveadm)
    again(kept)
    go(settings._replace(full_sync_interval=0), doveadm)
    assert doveadm.syncs == [("a", True), ("a", True)]


@pytest.mark.parametrize(
    "began, now, due", [(0, 1000, True), (1000, 1030, False), (1000, 1059, True), (1000, 900, True)]
)
def test_when_a_round_is_due(began, now, due):
    """Also when the clock was set back."""
    assert rounds.is_due({"round_began": str(began)}, 60, now) is due


def test_a_damaged_database_begins_anew(settings, tmp_path):
    (tmp_path / "users.sqlite").write_text("this is no database, and longer than its header" * 20)
    assert engine.opened(settings.database).entries() == {}
    assert (tmp_path / "users.sqlite.damaged").exists()


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_nobody_is_lost(settings, seed):
    """Random answers and requests: after a round in which all is well everyone has been synced since their request."""
    chance = random.Random(seed)
    users = [f"u{number}" for number in range(12)]
    kinds = [
        SYNCED,
        REFUSED,
        (2, "", "desync"),
        (67, "", "User doesn't exist"),
        (75, "", "Error: lock"),
        (124, "", "x"),
    ]
    for _dummy in range(5):
        doveadm = Doveadm(users, **{name: chance.choices(kinds, k=3) for name in users})
        for name in chance.sample(users, 3):
            ask = chance.choice(users)
            doveadm.meanwhile[name] = lambda ask=ask: store.Store(settings.database).request([ask], 1)
        dummy_status, kept, said = go(settings, doveadm)
        assert not doveadm.twice and doveadm.most <= settings.width
        again(kept)
    status, kept, said = go(settings, Doveadm(users))
    entries = kept.entries()
    assert status == 0 and set(entries) == set(users) and kept.requested() == []
    assert not any(entry.failed or entry.missing for entry in entries.values())


def test_tables_of_another_release_are_made_anew(settings, monkeypatch):
    dummy, kept, said = go(settings, Doveadm(["a"]))
    monkeypatch.setattr(store, "VERSION", store.VERSION + 1)
    assert store.Store(settings.database).entries() == {} and store.Store(settings.database).facts() == {}
    go(settings, Doveadm(["a"]))
    assert store.Store(settings.database).entries()["a"].success


def test_names_of_any_bytes(settings):
    name = b"caf\xe9'; DROP TABLE users; --".decode("utf-8", "surrogateescape")
    dummy, kept, said = go(settings, Doveadm([name, "*", "a b"]))
    assert set(kept.entries()) == {name, "*", "a b"} and kept.entries([name])[name].success


def test_settings_that_are_none(tmp_path, capsys):
    assert program.main(["--config", str(tmp_path / "none")]) == 1 and "FileNotFoundError" in capsys.readouterr().out
    (tmp_path / "half").write_text('{"destination": "tcp:mx2"}')
    assert program.main(["--config", str(tmp_path / "half")]) == 1 and "has no" in capsys.readouterr().out
