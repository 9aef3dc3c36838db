# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full syncs: nobody's sync is cut into, and nobody is left off the list."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import guard
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.full_sync import (
    FullSyncs,
    MayBeOff,
    request_full_syncs,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import DsyncSlot


class Recorder:
    """Takes the part of a client and of a guard, and notes what is asked for in which order."""

    def __init__(self, *running):
        self.running = list(running)
        self.done = []

    def dsyncs(self):
        names = self.running.pop(0) if len(self.running) > 1 else self.running[0]
        return [DsyncSlot(username=name, type="full") for name in names]

    def start_over(self, name, priority):
        self.done.append(("start over", name, priority))

    def watch(self, name):
        self.done.append(("watch", name))

    def release(self):
        self.done.append(("release",))


def request(recorder, names, seconds=10):
    now = [0.0]

    def sleep(pause):
        now[0] += pause

    return request_full_syncs(recorder, names, "low", seconds, recorder, lambda: now[0], sleep)


def test_each_name_is_watched_while_it_is_off_the_list():
    recorder = Recorder([])
    assert request(recorder, ["a", "b"]) == []
    assert recorder.done == [
        *[("watch", "a"), ("start over", "a", "low"), ("release",)],
        *[("watch", "b"), ("start over", "b", "low"), ("release",)],
    ]


def test_a_sync_under_way_is_waited_for():
    recorder = Recorder(["a"], ["a"], ["a"], [])
    assert request(recorder, ["a", "b"]) == []
    assert [step[1] for step in recorder.done if step[0] == "start over"] == ["b", "a"]


def test_a_sync_that_does_not_end():
    recorder = Recorder(["a"])
    assert request(recorder, ["b", "a"], seconds=3) == ["a"]
    assert ("start over", "a", "low") not in recorder.done


CUT = Interrupted("Talking to the socket", "it closed the connection during REPLICATE")


class Cut(Recorder):
    """A replicator that goes away after it has taken a user off its list."""

    def start_over(self, name, priority):
        if name == "its@x.org":
            raise CUT
        super().start_over(name, priority)


def test_the_user_who_may_be_off_the_list_is_named(monkeypatch):
    def gone():
        raise Interrupted("Connecting to the socket", "Connection refused")

    monkeypatch.setattr(guard, "PERSISTENCE", 0.1)
    with pytest.raises(MayBeOff) as caught:
        FullSyncs(Cut([]), gone, "low").request(["a@x.org", "its@x.org"], 10)
    message = str(caught.value)
    assert "its@x.org may be off the list" in message and str(CUT.answer) in message and "a@x.org" not in message
    assert "`doveadm replicator replicate -p high -- its@x.org`" in message


def test_a_name_is_quoted_for_the_shell():
    message = str(MayBeOff("two words'", CUT))
    assert """-- 'two words'"'"''`""" in message


@pytest.mark.parametrize("names", [["its@x.org"], ["a@x.org"]])
def test_a_user_whom_the_guard_has_put_back_is_no_loss(tmp_path, names):
    """Nor is one who has not been taken off when the connection is cut."""

    class Other(Recorder):
        def replicate(self, names, priority):
            (tmp_path / "back").write_text(" ".join([*names, priority]))

    client = Cut([])
    if names == ["a@x.org"]:
        client.dsyncs = lambda: raising(CUT)
    with pytest.raises(DovecotError) as caught:
        FullSyncs(client, Other, "low").request(names, 10)
    assert caught.value is CUT
    assert (tmp_path / "back").exists() == (names == ["its@x.org"])


def raising(error):
    raise error
