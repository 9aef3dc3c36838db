# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to be converted for Dovecot 2.4; each line of these was tried on 2.4.1."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.upgrade import OLD_VARIABLE
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _upgrade


def seen(*settings, untitled=(), plugin_sections=()):
    return {
        "settings": [
            {"protocol": None, "place": "x line 1", "old_variables": False, "plugins": [], **item} for item in settings
        ],
        "untitled": [{"setting": kind, "place": "x line 9"} for kind in untitled],
        "plugin_sections": list(plugin_sections),
    }


def effects(observed):
    return [(line.setting, line.effect) for line in _upgrade.to_convert(observed)]


@pytest.mark.parametrize(
    "setting",
    [
        "mail_uid",
        "protocols",
        "doveadm_password",
        "namespace[1]/inbox",
        "namespace[1]/mailbox/Drafts/special_use",
        "userdb[1]/driver",
        "service/imap-login/inet_listener/imap/port",
        "service/lmtp/unix_listener/lmtp/mode",
        "ssl_min_protocol",
    ],
)
def test_what_stays(setting):
    assert effects(seen({"setting": setting})) == []


@pytest.mark.parametrize(
    "setting, instead",
    [
        ("mail_location", "mail_driver and mail_path"),
        ("namespace[1]/location", "mail_driver and mail_path"),
        ("userdb[1]/args", "passwd_file_path"),
        ("ssl_cert", "ssl_server_cert_file"),
        ("disable_plaintext_auth", "auth_allow_cleartext"),
        ("plugin/sieve", ""),
        ("service/doveadm/inet_listener/x/address", "listen"),
        ("dict/quota", ""),
        ("replication_max_conns", ""),
    ],
)
def test_what_is_refused(setting, instead):
    (line,) = _upgrade.to_convert(seen({"setting": setting}))
    assert line.effect == _upgrade.REFUSED and instead in line.instead and line.place == "x line 1"


@pytest.mark.parametrize(
    "words, instead",
    [
        (["$mail_plugins", "quota"], "mail_plugins { quota = yes }"),
        (["notify", "replication"], "nothing"),
        (["quota"], None),
    ],
)
def test_plugins(words, instead):
    found = _upgrade.to_convert(seen({"setting": "mail_plugins", "plugins": words}))
    assert [line.instead for line in found] == ([] if instead is None else [instead])
    assert all(line.effect == _upgrade.DANGEROUS for line in found)


@pytest.mark.parametrize("value, old", [("/srv/%u", True), ("%Lu", True), ("%2.26Hn", True), ("100%", False)])
def test_old_variables(value, old):
    assert bool(OLD_VARIABLE.search(value)) is old


@pytest.mark.parametrize("value", ["%{user}", "%{user | lower}", "%%u", "%%", "50% of it"])
def test_variables_that_stay(value):
    assert not OLD_VARIABLE.search(value)


def test_old_variables_are_dangerous_where_2_4_takes_the_setting():
    assert effects(seen({"setting": "mail_home", "old_variables": True})) == [("mail_home", _upgrade.DANGEROUS)]
    assert effects(seen({"setting": "mail_location", "old_variables": True})) == [("mail_location", _upgrade.REFUSED)]


def test_sections():
    assert effects(seen(untitled=["passdb"], plugin_sections=["x line 3"])) == [
        ("passdb", _upgrade.REFUSED),
        ("plugin", _upgrade.REFUSED),
    ]
    assert effects(seen({"setting": "service/replicator/process_min_avail"})) == [
        ("service/replicator/process_min_avail", _upgrade.IDLE)
    ]


def test_the_gravest_comes_first():
    found = _upgrade.to_convert(
        seen({"setting": "ssl_cert"}, {"setting": "mail_plugins", "plugins": ["$mail_plugins"]}, untitled=["userdb"])
    )
    lines = _upgrade.lines_of(found)
    assert lines[0].startswith("  Dovecot 2.4 accepts these") and "mail_plugins" in lines[1]
    assert _upgrade.summary_of(found) == {"refused": 2, "dangerous": 1, "idle": 0}
