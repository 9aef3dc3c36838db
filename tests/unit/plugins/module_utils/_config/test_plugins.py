# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which plugins are to be loaded, and which have no file. Live hosts for it are in test_verify and test_timer."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import plugins
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration


def configuration(text):
    return Configuration(f"# 2.3.19.1 (9b53): /dev/null\n{text}")


@pytest.mark.parametrize(
    "text, protocol, expected",
    [
        ("mail_plugins = quota notify\n", None, ["quota", "notify"]),
        ("mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota acl\n}\n", "imap", ["quota", "acl"]),
        ("mail_plugins = quota\nprotocol imap {\n  mail_plugins = quota acl\n}\n", "lmtp", ["quota"]),
        ("mail_plugins {\n  notify = yes\n  quota = no\n}\n", None, ["notify"]),
        ("mail_plugins {\n  notify = yes\n}\nprotocol imap {\n  mail_plugins = acl\n}\n", "imap", ["acl"]),
        (
            "mail_plugins {\n  notify = yes\n}\nprotocol lmtp {\n  mail_plugins {\n    sieve = yes\n  }\n}\n",
            "lmtp",
            ["notify", "sieve"],
        ),
    ],
)
def test_what_processes_load(text, protocol, expected):
    assert plugins.in_force(configuration(text), protocol) == expected


def test_a_plugin_is_known_by_its_file(tmp_path):
    for name in ("lib15_notify_plugin.so", "lib20_var_expand_crypt.so", "libfs_crypt.so", "old-stats", "README"):
        (tmp_path / name).touch()
    there = configuration(f"mail_plugin_dir = {tmp_path}\n")
    assert plugins.without_file(there, ["notify", "var_expand_crypt", "fs_crypt"]) == []
    assert plugins.without_file(there, ["xapian", "notify_plugin", "README", "fts"]) == [
        "README",
        "fts",
        "notify_plugin",
        "xapian",
    ]
    assert plugins.without_file(configuration("mail_plugin_dir = /nonexistent\n"), ["xapian"]) == []
