# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way in which the replicator cannot be reached has its own message, with a cure."""

import pytest
from conftest import MX1

MODULES = {
    "replicator_info": {},
    "replicator_user": {"users": ["alice@example.org"]},
    "replicator_replicate": {"users": ["alice@example.org"]},
}


@pytest.mark.parametrize("name", MODULES)
def test_dovecot_without_a_replicator(host_without_replicator, name):
    result = host_without_replicator.module(name, **MODULES[name])
    assert result["failed"]
    assert "removed in 2.4.0" in result["msg"] and "stay on Dovecot 2.3" in result["msg"]


@pytest.mark.parametrize("name", ["auth-userdb", "anvil"])
def test_the_socket_of_another_service(pair, name):
    """One of them greets in its own way, the other says nothing."""
    result = pair.module("replicator_info", socket_path=f"/run/dovecot/{name}", timeout=1)
    assert result["failed"] and "another service's" in result["msg"]


def test_no_socket(pair):
    result = pair.module("replicator_info", socket_path="/run/dovecot/nosuch")
    assert result["failed"] and "ENOENT" in result["msg"] and "mode" in result["msg"]


def test_a_stale_socket(pair):
    pair.shell("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/stale\")'")
    try:
        result = pair.module("replicator_info", socket_path="/run/stale")
    finally:
        pair.shell("rm /run/stale")
    assert result["failed"] and "ECONNREFUSED" in result["msg"] and "start Dovecot" in result["msg"]


def test_dovecot_stopped(pair):
    with pair.stopped(MX1):
        result = pair.module("replicator_user", users=["alice@example.org"])
    assert result["failed"] and "Dovecot is stopped" in result["msg"]


def test_no_permission(pair):
    become = ["--become", "--become-method", "su", "--become-user", "nobody"]
    become += ["-e", "ansible_become_flags='-s /bin/sh'"]
    result = pair.module("replicator_info", ansible_options=become)
    assert result["failed"] and "EACCES" in result["msg"] and "become" in result["msg"]


def test_a_base_dir_elsewhere_is_found(pair):
    """The configuration says where the socket is; here it is that of a second instance."""
    pair.shell(
        "mkdir -p /srv/second/state && doveconf -n -P | grep -v '^#' > /srv/second/dovecot.conf && "
        "printf 'base_dir = /run/second\\nstate_dir = /srv/second/state\\n"
        "service doveadm {\\n inet_listener replication {\\n port = 0\\n }\\n}\\nprotocols =\\n' "
        ">> /srv/second/dovecot.conf && "
        "mkdir -p /run/second && dovecot -c /srv/second/dovecot.conf && sleep 1"
    )
    try:
        result = pair.module("replicator_info", config_file="/srv/second/dovecot.conf")
        users = pair.module("replicator_user", config_file="/srv/second/dovecot.conf", user_mask="*", check=True)
    finally:
        pair.shell("doveadm -c /srv/second/dovecot.conf stop; rm -rf /srv/second")
    assert result["socket_path"] == "/run/second/replicator-doveadm"
    assert result["overview"]["known_users"] == 4
    assert users["changed"] is False
