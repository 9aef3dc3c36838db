# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run of doveconf tells."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration

SERVICES = """service a {
  unix_listener sub/x {
    mode = 0600
  }
  unix_listener off {
    mode = 00
  }
  fifo_listener f {
    mode = 0666
  }
  unix_listener /abs/x {
    mode = 0600
  }
}
"""


def test_listeners():
    assert Configuration(SERVICES).sockets() == {"/run/dovecot/sub/x", "/run/dovecot/f", "/abs/x"}
    assert "/other/f" in Configuration("base_dir = /other\n" + SERVICES).sockets()


def test_sockets_behind_a_link(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "here")
    configuration = Configuration(f"base_dir = {tmp_path}/linked//\n{SERVICES}".replace("/abs", f"{tmp_path}/linked"))
    assert configuration.base_dir() == f"{tmp_path}/here"
    assert configuration.sockets() == {f"{tmp_path}/here/{name}" for name in ("sub/x", "f", "x")}


@pytest.mark.parametrize(
    "line, version",
    [("# 2.3.19.1 (9b53102964): /x: y.conf", "2.3.19.1 (9b53102964)"), ("# Pigeonhole", None), ("", None)],
)
def test_version(line, version):
    assert Configuration(line + "\na = 1\n").version == version


# What 2.3.19.1 says of three settings, with -f for each of the protocols.
SECTIONS = """a = global
protocol pop3 {
  a = pop3
}
protocol !imap {
  a = not imap
}
protocol lda {
  a = lda
}
local 127.0.0.1 {
  protocol imap {
    a = local
  }
}
"""


@pytest.mark.parametrize(
    "protocol, value",
    [(None, "global"), ("imap", "global"), ("pop3", "pop3"), ("lmtp", "not imap"), ("lda", "not imap")],
)
def test_sections(protocol, value):
    assert Configuration(SECTIONS).value("a", protocol) == value


def test_a_printed_value_ends_with_its_line():
    """A backslash or a # in it means nothing."""
    configuration = Configuration('a = x\\\nb = \'y\nc = "#\\"z"\n#d = 1\n')
    assert [configuration.value(name) for name in "abcd"] == ["x\\", "'y", '#"z', ""]


def test_places(tmp_path):
    main = tmp_path / "dovecot.conf"
    main.write_text("protocol imap {\n  !include inner.conf\n}\na = 2\n")
    (tmp_path / "inner.conf").write_text("a = 1\n")
    configuration = Configuration(f"# 2.3 (x): {main}\na = 2\nprotocol imap {{\n  a = 1\n}}\n")
    assert configuration.place("a") == f"{main} line 4"
    assert configuration.described("a", "imap") == {"value": "1", "place": f"{tmp_path}/inner.conf line 1"}
    assert configuration.place("b") is None


def test_a_group_decides_over_the_default_that_dovecot_2_4_prints_before_it():
    text = (
        "# 2.4.1-4 (7d8c0e5759): /x\nssl_server_prefer_ciphers = client\nssl_server {\n  prefer_ciphers = server\n}\n"
    )
    assert Configuration(text).value("ssl_server_prefer_ciphers") == "server"
