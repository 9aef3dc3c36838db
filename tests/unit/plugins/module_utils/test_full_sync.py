# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Full syncs: nobody's sync is cut into, and nobody is left off the list."""

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._full_sync import request_full_syncs
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._protocol import DsyncSlot


class Recorder:
    """Takes the part of a client and of a guard, and notes what is asked for in which order."""

    def __init__(self, *running):
        self.running = list(running)
        self.done = []

    def dsyncs(self):
        names = self.running.pop(0) if len(self.running) > 1 else self.running[0]
        return [DsyncSlot(name, "full", "") for name in names]

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
