# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action takes of a play's variables: which observation of which host counts at which stage."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.action import replication_verify as action

MX1, MX2 = "mx1", "mx2"


class HostVars(dict):
    """Variables by host, of which none is expanded."""

    def raw_get(self, name):
        return super().__getitem__(name)

    def __getitem__(self, name):
        raise AssertionError("templating takes long")


def seen(text):
    return {"hostname": text}


def observed(text):
    return {"observation": seen(text)}


def view_of(stage, own, peer, batch=(MX1, MX2), groups=(MX1, MX2), **more):
    variables = {
        "inventory_hostname": MX1,
        "ansible_play_batch": list(batch),
        "groups": {"pair": list(groups)},
        "hostvars": HostVars({MX1: own, MX2: peer}),
        **own,
        **more,
    }
    options = {"stage": stage, "group": "pair"}
    return action.view_of(options, variables, action.of_pair(options, variables), False)


@pytest.mark.parametrize(
    "stage, own, peer, batch, texts",
    [
        ("observed", {"seen": "1"}, {"seen": "2"}, [MX1, MX2], ["1", "2"]),
        # An earlier run of verify in the same play has left its records.
        ("observed", {"seen": "1", "observed": "old"}, {"seen": "2", "observed": "old"}, [MX1, MX2], ["1", "2"]),
        ("concluded", {"seen": "1", "observed": "1b"}, {"seen": "2", "observed": "2b"}, [MX1, MX2], ["1b", "2b"]),
        # With serial the peer had its turn before: setup looks at it again, verify knows what it saw.
        ("observed", {"seen": "1", "peer_seen": "2"}, {}, [MX1], ["1", "2"]),
        ("observed", {"seen": "1"}, {"seen": "2", "observed": "2b"}, [MX1], ["1", "2b"]),
        ("concluded", {"observed": "1b", "peer_seen": "2"}, {"observed": "old"}, [MX1], ["1b", "2"]),
        # The peer has still to come, or could not be reached.
        ("observed", {"seen": "1"}, {}, [MX1], ["1"]),
        ("concluded", {"observed": "1b"}, {}, [MX1], ["1b"]),
    ],
)
def test_which_observations_count(stage, own, peer, batch, texts):
    def registered(facts):
        return {
            f"__replication_{name}": observed(text) if name == "observed" else seen(text)
            for name, text in facts.items()
        }

    view = view_of(stage, registered(own), registered(peer), batch)
    assert view.observations == dict(zip([MX1, MX2], map(seen, texts)))


def test_a_failed_look_is_no_observation():
    peer = {"__replication_seen": {"failed": True, "msg": "no doveconf"}}
    assert list(view_of("observed", {"__replication_seen": seen("1")}, peer).observations) == [MX1]


def test_a_host_outside_the_group_looks_at_no_other():
    view = view_of("observed", {"__replication_seen": seen("1")}, {"__replication_seen": seen("2")}, groups=[MX2])
    assert view.pair == [MX1] and list(view.observations) == [MX1]


def test_the_playbook_plan_previews_without_check_mode():
    assert not view_of("observed", {}, {}).previewing
    assert view_of("observed", {}, {}, __replication_plan=True).previewing


def test_a_loop_that_was_skipped_has_no_results():
    assert action.results_in({}, "x") == [] and action.results_in({"x": {"skipped": True}}, "x") == []
