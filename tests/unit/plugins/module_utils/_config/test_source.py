# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source as config_source


def settings(text):
    return [(found.line, found.protocol, found.setting, found.value) for found in config_source.parse(text)]


@pytest.mark.parametrize(
    "text, found",
    [
        ("a = 1", [(1, None, "a", "1")]),
        ("  a=1  # why", [(1, None, "a", "1")]),
        ("a =", [(1, None, "a", "")]),
        # Of Dovecot 2.4.
        (
            "userdb passwd {\n}\nuserdb static {\n  driver = static\n}",
            [
                (1, None, "userdb/passwd/driver", "passwd"),
                (3, None, "userdb/static/driver", "static"),
                (4, None, "userdb/static/driver", "static"),
            ],
        ),
        ("ssl_server {\n  cert_file = /x\n}", [(2, None, "ssl_server_cert_file", "/x")]),
        ("protocol doveadm {\n ssl_client {\n ca_file = /x\n}\n}", [(3, "doveadm", "ssl_client_ca_file", "/x")]),
        ("mail_plugins {\n  quota = yes\n}", [(2, None, "mail_plugins/quota", "yes")]),
        ("# a = 1\n\nb = 2", [(3, None, "b", "2")]),
        ('a = "x # y" # z', [(1, None, "a", "x # y")]),
        ("a = 'x \\' y'", [(1, None, "a", "x ' y")]),
        ("a = x\\\n  y \\\n z", [(3, None, "a", "x y z")]),
        ("service a {\n inet_listener b {\n  port = 1\n }\n}", [(3, None, "service/a/inet_listener/b/port", "1")]),
        (
            "service a {\n unix_listener b/c {\n  mode = 0\n }\n}",
            [(3, None, "service/a/unix_listener/b\\sc/mode", "0")],
        ),
        ("protocol imap {\n plugin {\n  x = 1\n }\n y = 2\n}", [(3, "imap", "plugin/x", "1"), (5, "imap", "y", "2")]),
        ("local 10.0.0.0/8 {\n protocol imap {\n  x = 1\n }\n}\ny = 2", [(6, None, "y", "2")]),
        ("userdb {\n a = 1\n}\nuserdb {\n a = 2\n}", [(2, None, "userdb[1]/a", "1"), (5, None, "userdb[2]/a", "2")]),
        ("namespace inbox {\n mailbox Sent {\n  auto = no\n }\n}", [(3, None, "namespace[1]/mailbox/Sent/auto", "no")]),
    ],
)
def test_parse(text, found):
    assert settings(text) == found


def test_includes_are_read_where_they_stand(tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "20-b.conf").write_text("a = 20\n")
    (tmp_path / "conf.d" / "10-a.conf").write_text("a = 10\n!include_try ../extra.conf\n")
    (tmp_path / "conf.d" / ".10-a.conf.tmp").write_text("a = hidden\n")
    (tmp_path / "extra.conf").write_text("a = extra\n")
    (tmp_path / "dovecot.conf").write_text(
        "a = 1\n!include conf.d/*.conf\n!include_try nosuch.conf\n!include dovecot.conf\na = 2\n"
    )
    found = config_source.read_assignments(str(tmp_path / "dovecot.conf"))
    assert [(item.file[len(str(tmp_path)) + 1 :], item.line, item.value) for item in found] == [
        ("dovecot.conf", 1, "1"),
        ("conf.d/10-a.conf", 1, "10"),
        ("extra.conf", 1, "extra"),
        ("conf.d/20-b.conf", 1, "20"),
        ("dovecot.conf", 5, "2"),
    ]


@pytest.mark.parametrize(
    "text, reason",
    [
        ("# Why.\na = 1", "Why"),
        ("# no\n## yes\na = 1", "yes"),
        ("# far\n\na = 1", None),
        ("# b = 2\na = 1", None),
        ("# of b\nb = 2\na = 1", None),
        ("# Why\na = 1\\\n 2", "Why"),
    ],
)
def test_the_comment_above_is_the_reason(text, reason):
    assert config_source.parse(text)[-1].reason == reason


def test_what_decides():
    found = config_source.parse("protocol imap {\n a = imap\n}\na = 1\na = 2\n")
    assert config_source.last(found, "a").line == 5
    assert config_source.last(found, "a", "imap").line == 2
    assert config_source.last(found, "a", "lda").line == 5
    assert config_source.last(found, "b", "lda") is None
