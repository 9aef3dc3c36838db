# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action takes of a play's variables."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.action import replication_result as action

ONE, OTHER, THIRD = "mx1", "mx2", "mx3"


class HostVars(dict):
    """Variables by host, of which a template is only expanded where it is asked for."""

    def raw_get(self, name):
        return super().__getitem__(name)

    def __getitem__(self, name):
        return {key: "pair" if value == "{{ own }}" else value for key, value in self.raw_get(name).items()}


def run_of(hostvars, stage="ended", groups=None, **options):
    variables = {
        "ansible_play_hosts_all": list(hostvars),
        "ansible_play_hosts": list(hostvars)[:1],
        "hostvars": HostVars(hostvars),
        "groups": groups or {},
    }
    options = {"playbook": "setup", "stage": stage, "group": "mail", "state": "present", "hold": True, **options}
    return action.run_of(options, False, variables)


def test_the_facts_of_each_host():
    run = run_of({ONE: {"__replication_config": {"changed": True}}, OTHER: {}})
    assert run.facts[ONE].config == {"changed": True} and run.facts[OTHER].config == {}
    assert list(run.active) == [ONE]


def test_what_an_earlier_play_has_left_is_not_there_at_the_beginning():
    assert run_of({ONE: {"__replication_config": {"changed": True}}}, stage="begun").facts[ONE].config == {}


@pytest.mark.parametrize(
    "known, pair",
    [
        ({}, [ONE, OTHER]),
        ({"replication_group": "pair"}, [ONE, THIRD]),
        ({"replication_group": "{{ own }}"}, [ONE, THIRD]),
        ({"replication_group": "elsewhere"}, [ONE]),
        ({"replication_group": "nosuch"}, [ONE]),
    ],
)
def test_the_pair_of_a_host(known, pair):
    groups = {"mail": [ONE, OTHER], "pair": [ONE, THIRD], "elsewhere": [OTHER, THIRD]}
    assert run_of({ONE: known}, groups=groups).pairs == {ONE: pair}
