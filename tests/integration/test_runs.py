# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which people run Ansible: without root, on one host, with other strategies, with names of their own."""

import json

import pytest
import runs
from conftest import HOSTS, INVENTORY, LEAST_LOADED, MX1
from runs import changes, failures, findings_of, reported, succeeded

pytestmark = [
    pytest.mark.parametrize("pair", [LEAST_LOADED], indirect=True),
    pytest.mark.usefixtures("tidied"),
]

ALICE = "alice@example.org"
# Another user than root, whatever the play says.
NOBODY = {"ansible_become_user": "nobody", "ansible_become_method": "su", "ansible_become_flags": "-s /bin/sh"}


def play_of(tmp_path, text):
    """The path of a playbook with one play of the hosts of the pair."""
    path = tmp_path / "play.yml"
    path.write_text(f"- hosts: dovecot_replication\n  gather_facts: false\n{text}")
    return path


def own(pair, playbook, *options, **environment):
    """The results of a playbook of a user's own."""
    return runs.play(pair.lab, INVENTORY, playbook, *options, **environment)


ROLE = """  become: true
  tasks:
    - ansible.builtin.import_role:
        name: mailops.dovecot_replication.replication
        tasks_from: %s
"""


@pytest.mark.rare
def test_strategies(pair, tmp_path):
    """The playbooks pin theirs, so nothing is green without a proof; in a play of one's own the role refuses."""
    free = {"ANSIBLE_STRATEGY": "free"}
    with pair.account("erin@example.org", hosts=[MX1]):
        results = pair.play("verify", environment=free)
        assert "account_missing" in [finding["id"] for finding in findings_of(results)] and failures(results)
    for tasks_from in ("main", "verify", "adopt"):
        playbook = play_of(tmp_path, ROLE % tasks_from)
        for strategy in ("free", "host_pinned"):
            results = own(pair, playbook, ANSIBLE_STRATEGY=strategy)
            assert len(failures(results)) == 2 and changes(results) == []
            told = [f"the strategy {strategy}" in message for message in failures(results)]
            assert all(told), (tasks_from, failures(results))
    playbook = play_of(tmp_path, ROLE % "main")
    succeeded(own(pair, playbook, "--limit", MX1, **free))
    succeeded(own(pair, playbook, ANSIBLE_STRATEGY="linear"))


@pytest.mark.parametrize(
    "secret, words",
    [
        ("of-{{ inventory_hostname }}", f"{MX1} and mx2.example.org have different values of replication_secret"),
        ("{{ lookup('ansible.builtin.password', '/dev/null') }}", "another value each time it is used"),
    ],
    ids=["by host", "random"],
)
def test_secrets_that_differ(pair, tmp_path, secret, words):
    """Refused before a file is written, and nowhere shown. What a play sets for both of its hosts is no difference."""
    results = pair.play("setup", replication_secret=secret)
    assert changes(results) == [] and len(failures(results)) == 2
    assert any(words in message for message in failures(results)) and "of-mx" not in str(results)
    by_host = tmp_path / "by-host.json"
    by_host.write_text(json.dumps({"dovecot_replication": {"hosts": {MX1: {"replication_secret": "only-here"}}}}))
    results = pair.play("setup", "-i", str(by_host))
    assert changes(results) == [] and "have different values" in failures(results)[0]
    text = "  become: true\n  vars:\n    replication_secret: of-the-play\n" + (ROLE % "main").partition("\n")[2]
    succeeded(own(pair, play_of(tmp_path, text), "-i", str(by_host), "--check"))


@pytest.mark.rare
def test_one_host_first(pair):
    """It says what it did not look at, and is not red for the host that has not had its turn."""
    succeeded(pair.play("setup", replication_state="absent"))
    for host in HOSTS:
        pair.shell("systemctl stop dovecot; rm -f /var/lib/dovecot/replicator.db; systemctl start dovecot", host)
    first = succeeded(pair.play("setup", "--limit", MX1, replication_verify=True))
    (found,) = findings_of(first)
    assert found["id"] == "peer_comes_later" and "--limit mx2.example.org" in found["cure"]
    assert any("only one host of the pair was observed" in line for line in reported(first))
    again = succeeded(pair.play("setup", "--limit", MX1, replication_verify=True))
    assert changes(again) == [] and [finding["id"] for finding in findings_of(again)] == ["peer_comes_later"]
    # What the run was told not to look at is looked at by verify.
    assert [finding["id"] for finding in findings_of(pair.play("verify", "--limit", MX1))][0] == "peer_unreachable"
    options = ["--limit", found["cure"].split("--limit ")[1].rstrip("`.")]
    assert findings_of(succeeded(pair.play("setup", *options, replication_verify=True))) == []
    pair.tidy()
    assert findings_of(succeeded(pair.play("verify"))) == []


def test_without_root(pair):
    """The right is missing, and nothing else is said to be wrong."""
    for playbook in ("setup", "verify"):
        results = pair.play(playbook, **NOBODY)
        messages = failures(results)
        assert len(messages) == 2 and changes(results) == []
        assert all("as the user nobody" in message and "become: true" in message for message in messages)
        assert not [line for line in results if line["result"].get("findings")]


# Tasks with modules that only root, or whoever has the rights of a socket, can run.
MODULES = """  become: true
  ignore_errors: true
  tasks:
    - mailops.dovecot_replication.node_info:
    - mailops.dovecot_replication.replicator_user: {users: [alice@example.org], transport: doveadm}
    - mailops.dovecot_replication.replicator_replicate: {users: [alice@example.org]}
    - mailops.dovecot_replication.replicator_wait:
    - mailops.dovecot_replication.mailbox_info: {users: [alice@example.org]}
    - mailops.dovecot_replication.mailbox_info: {user_mask: "*"}
    - mailops.dovecot_replication.mailbox_probe: {user: alice@example.org, token: x}
    - mailops.dovecot_replication.dovecot_config: {files: [{path: /etc/dovecot/conf.d/99-x.conf, content: "# x"}]}
"""
WITHOUT_ROOT = """  become: true
  tasks:
    - mailops.dovecot_replication.node_info: {gather: [host]}
    - mailops.dovecot_replication.replicator_info:
    - mailops.dovecot_replication.replicator_wait: {users: [alice@example.org]}
    - mailops.dovecot_replication.replicator_user: {users: [alice@example.org], check_userdb: false}
"""


@pytest.mark.rare
def test_modules_without_root(pair, tmp_path):
    """Each says so; with the rights of the socket, which the message names, some need no root."""
    options = ["--limit", MX1, *(f"-e{name}='{value}'" for name, value in NOBODY.items())]
    results = own(pair, play_of(tmp_path, MODULES), *options)
    told = [line["result"]["msg"] for line in results if line["status"] == "failed"]
    assert len(told) == MODULES.count("dovecot_replication.")
    assert all("the user nobody" in text or "Permission denied" in text for text in told)
    assert all("run the task as root (become: true)" in text and "stats-writer" not in text for text in told)
    assert '`mode: "0660"` and `group`' in told[1]

    socket = {"mode": "0660", "group": "nogroup"}
    succeeded(pair.play("setup", replication_doveadm_socket=socket))
    succeeded(own(pair, play_of(tmp_path, WITHOUT_ROOT), *options))
    succeeded(pair.play("setup"))
