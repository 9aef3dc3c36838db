# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the action gives to the module that writes, without a host."""

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.mailops.dovecot_replication.plugins.action import replication_configure as action

MX1, MX2 = "mx1", "mx2"
DECIDED = {
    "other": MX2,
    "peer_seen": False,
    "by_syncer": False,
    "observed": {"hostname": MX1},
    "config": {"config_file": "/etc/dovecot/dovecot.conf"},
    "secrets": ["doveadm_password"],
}


class HostVars(dict):
    def raw_get(self, name):
        return self[name]


class Action(action.ActionModule):
    """Of which the parts that need Ansible are played."""

    def __init__(self, again=None):
        self.again, self.given = again, None

    def validate_argument_spec(self, argument_spec):
        assert argument_spec == {}

    def decision(self, task_vars, observed, peer):
        return {**DECIDED, **self.again}

    def value(self, name, task_vars):
        return task_vars[name]

    def _execute_module(self, module_name, module_args, task_vars):
        self.given = module_args
        return {"changed": True}


def variables(decision, peer=None):
    of_peer = {"__replication_decision": {"observed": peer}} if peer else {}
    secrets = {"replication_secret": "a", "replication_api_key": "b"}
    return {"hostvars": HostVars({MX2: of_peer}), "__replication_decision": decision, **secrets}


@pytest.fixture(autouse=True)
def _without_ansible(monkeypatch):
    monkeypatch.setattr(action.DecidingAction, "run", lambda *_arguments: {})


@pytest.mark.parametrize("names, secrets", [([], {}), (["doveadm_api_key"], {"doveadm_api_key": "b"})])
def test_the_secrets_that_are_wanted(names, secrets):
    own = Action()
    result = own.run(task_vars=variables({**DECIDED, "secrets": names}))
    assert own.given == {"config_file": "/etc/dovecot/dovecot.conf", "loaded": True, "secrets": secrets}
    assert result == {"changed": True}


@pytest.mark.parametrize("hostname, given", [(MX2, None), (MX1, "again")])
def test_it_decides_again_where_the_peer_makes_a_difference(hostname, given):
    own = Action({"config": {"config_file": "again"}})
    own.run(task_vars=variables(DECIDED, {"hostname": hostname, "dovecot_version": None}))
    assert own.given["config_file"] == (given or DECIDED["config"]["config_file"])


def test_what_is_then_refused_is_not_written():
    own = Action({"failed": True, "msg": "Both hosts"})
    result = own.run(task_vars=variables(DECIDED, {"hostname": MX1, "dovecot_version": None}))
    assert result == {"failed": True, "msg": "Both hosts"} and own.given is None


@pytest.mark.parametrize("decision", [None, {"failed": True, "refused": []}])
def test_without_a_decision_it_says_so(decision):
    with pytest.raises(AnsibleActionFail, match="register: __replication_decision"):
        Action().run(task_vars=variables(decision))
