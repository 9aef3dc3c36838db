# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task loads no code that it does not use; docs/scale.md says so."""

import subprocess
import sys

import pytest

HEAVY = {"http.client", "ssl", "urllib.request"}
# Runs a module in a process of its own, as Ansible does, and prints the heavy imports after its result.
RUN = """
import importlib, json, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({{"ANSIBLE_MODULE_ARGS": {options}}}).encode()
basic._ANSIBLE_PROFILE = "legacy"
PLUGINS = "ansible_collections.mailops.dovecot_replication.plugins."
module = importlib.import_module(PLUGINS + "modules.{name}")
importlib.import_module(PLUGINS + "module_utils._mail.doveadm_mail")
try:
    module.main()
except SystemExit:
    print("IMPORTED", *sorted({heavy}.intersection(sys.modules)))
"""
SOCKET = {"socket_path": "/nosuch/replicator-doveadm"}
API = {"api_url": "http://127.0.0.1:1", "api_key": "key", "use_proxy": False}


def run(name, options):
    """Return the output of a module, and which of the heavy imports it has made."""
    script = RUN.format(name=name, options=options, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    result, dummy, imported = done.stdout.partition("IMPORTED")
    return result, set(imported.split())


@pytest.mark.parametrize(
    "name, options",
    [
        ("replicator_info", SOCKET),
        ("replicator_user", {**SOCKET, "users": ["a"]}),
        ("replicator_replicate", {**SOCKET, "users": ["a"]}),
        ("replicator_wait", SOCKET),
        ("mailbox_info", {**SOCKET, "users": ["a"]}),
        ("mailbox_probe", {**SOCKET, "user": "a", "token": "t"}),
    ],
)
def test_the_http_client_is_loaded_only_for_the_api(name, options):
    result, imported = run(name, options)
    assert '"failed": true' in result and "Connecting to " in result, result
    assert imported == set()


def test_a_look_at_the_host_logs_in_nowhere():
    result, imported = run("node_info", {"gather": ["host"]})
    assert '"os_family"' in result and imported == set()


def test_the_api_loads_it():
    result, imported = run("replicator_info", API)
    assert "Connection refused" in result, result
    assert imported == HEAVY
