# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of replication that others wrote: which are found, commented out, and put back as they were."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import by_hand, source

OURS = """!include_try /etc/dovecot/secret.ext
replication_max_conns = 3
service doveadm {
  inet_listener replication {
    port = 12345
  }
}
plugin {
  mail_replica = tcp:b:12345
}
"""
LISTENER = "service doveadm {\n  inet_listener {\n    port = 4711\n  }\n}\n"


def places(tmp_path, text, content=OURS, secrets=None):
    (tmp_path / "dovecot.conf").write_text(text)
    own = by_hand.own_names(["/x/11-replication.conf"], content)
    found = by_hand.found(source.read(str(tmp_path / "dovecot.conf")), own, content, secrets or {})
    return [(lines.first, lines.last, lines.setting) for lines in found]


@pytest.mark.parametrize(
    "text, found",
    [
        ("", []),
        ("mail_plugins = quota notify replication\n", []),
        ("replication_max_conns = 9\n", [(1, 1, "replication_max_conns")]),
        ("replication_max_conns = 3\n", []),
        ("replication_full_sync_interval = 1h\n", []),
        ("doveadm_password = \\\n  x\n", [(1, 2, "doveadm_password")]),
        (LISTENER, []),
        (LISTENER.replace("4711", "12345"), [(2, 4, "service/doveadm/inet_listener")]),
        (LISTENER.replace("inet_listener", "inet_listener http"), []),
        (
            LISTENER + "plugin {\n mail_replica = tcp:b\n}\n",
            [(2, 4, "service/doveadm/inet_listener"), (7, 7, "plugin/mail_replica")],
        ),
        ("local 192.0.2.1 {\n plugin {\n  mail_replica = tcp:b\n }\n}\n", [(3, 3, "plugin/mail_replica")]),
        (
            "service aggregator {\n fifo_listener replication-notify-fifo {\n  user = vmail\n }\n}\n",
            [(2, 4, "service/aggregator/fifo_listener/replication-notify-fifo")],
        ),
        (
            "protocol lda {\n plugin {\n  replication_sync_timeout = 2\n }\n}\n",
            [(3, 3, "plugin/replication_sync_timeout")],
        ),
    ],
)
def test_what_is_found(tmp_path, text, found):
    assert places(tmp_path, text) == found


def test_a_secret_is_claimed_by_its_name(tmp_path):
    assert places(tmp_path, "doveadm_api_key = x\n") == []
    assert places(tmp_path, "doveadm_api_key = x\n", secrets={"doveadm_api_key": "y"}) == [(1, 1, "doveadm_api_key")]
    assert places(tmp_path, "doveadm_api_key = x\n", secrets={"doveadm_api_key": "x"}) == []


def test_our_files_are_not_those_of_others(tmp_path):
    (tmp_path / "secret.ext").write_text("doveadm_password = x\n")
    (tmp_path / "11-replication.conf").write_text(OURS)
    text = f"!include {tmp_path}/secret.ext\n!include {tmp_path}/11-replication.conf\n"
    assert places(tmp_path, text) == []


@pytest.mark.parametrize("end", ["\n", ""])
def test_what_is_commented_out_comes_back_as_it_was(tmp_path, end):
    text = "mail_plugins = $mail_plugins notify replication\nprotocol imap {\n  mail_plugins = quota replication\n}\n"
    text += LISTENER + "plugin {\n  # caf\u00e9\n  mail_replica = tcp:b\n}" + end
    path = tmp_path / "dovecot.conf"
    path.write_text(text)
    read = source.read(str(path))
    lines = by_hand.left(read, [])
    content = by_hand.commented_out(text.encode(), lines)
    path.write_bytes(content)
    again = source.read(str(path))
    assert by_hand.left(again, []) == []
    assert [(one.setting, one.value) for one in again.assignments] == [("mail_plugins", "quota")]
    assert by_hand.put_back(content) == text.encode()
