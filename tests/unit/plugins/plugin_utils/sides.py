# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of a pair as the role meets it, for tests of what the role decides."""

import yaml

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _role
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import Side

MX1, MX2 = "mx1.example.org", "mx2.example.org"
USER = {"home": "/srv/vmail", "shell": "/bin/sh", "can_log_in": True, "config_problem": None}
# What node_info returns of a healthy host.
OBSERVED = {
    "hostname": MX1,
    "task_user": "root",
    "is_root": True,
    "dovecot_version": "2.3.19.1 (9b53102964)",
    "os_family": "debian",
    "selinux": False,
    "peer_addresses": ["192.0.2.2"],
    "peer_is_self": False,
    "system_user": USER,
    "authorized_keys": [],
    "ssh_client": True,
    "ssh_host_keys": True,
    "service": {
        "replicator_problem": None,
        "userdb_problem": None,
        "cannot_list": None,
        "users": 4,
        "mail_by_userdb": True,
    },
}
# Of its peer.
PEER = {**OBSERVED, "hostname": MX2, "peer_addresses": ["192.0.2.1"]}


def defaults():
    """The role's defaults, without the templates that name other variables."""
    values = yaml.safe_load((_role.ROLE / "defaults" / "main.yml").read_text())
    own_key = "/etc/dovecot/replication-ssh-key"
    return {
        **values,
        "replication_ssh_user": "vmail",
        "replication_mail_group": "vmail",
        "replication_ssh_key_file": own_key,
    }


def side(observed=None, name=MX1, members=(MX1, MX2), **wanted):
    """Return a Side: of a healthy host in a pair, but for what is given."""
    given = {**defaults(), "replication_secret": "a-long-secret", **wanted}
    validated, problems = _role.variables(lambda value: value, given)
    assert problems == []
    fields = {key: given.pop(key) for key in Side._fields if key in given}
    return Side(wanted=validated, observed={**OBSERVED, **(observed or {})}, name=name, members=members, **fields)
