# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways to bring settings into effect, by the files of a configuration. That Dovecot agrees is for test_corpus."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import files, placement, plugins
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.files import ABSENT
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration

BLOCK = "# BEGIN mailops.dovecot_replication\n!include replication.conf.ext\n# END mailops.dovecot_replication\n"
COMMENT = "# a process that changes mail without these plugins starts no sync"
ADDED = "mail_plugins = $mail_plugins notify replication"
PARTS = "!include conf.d/*.conf\n"


class Host:
    """A directory of configuration files, and what Dovecot prints of it."""

    def __init__(self, path, texts, printed=""):
        (path / "conf.d").mkdir()
        for name, text in texts.items():
            (path / name).write_text(text)
        self.path = path
        self.main = str(path / "dovecot.conf")
        self.settings = placement.Settings(
            content="a = 1\n",
            drop_in=str(path / "conf.d/11-replication.conf"),
            file=str(path / "replication.conf.ext"),
            plugins=["notify", "replication"],
            protocols=["lda", "imap"],
        )
        self.configuration = Configuration(f"# 2.3.19.1 (9b53): {self.main}\n{printed}")

    def ways(self, **given):
        """Return the ways as texts by the names of files, None for a file that is not to be there."""
        return [
            {name[len(str(self.path)) + 1 :]: None if file == ABSENT else file.content.decode() for name, file in way}
            for way in (
                sorted(candidate.files.items())
                for candidate in placement.candidates(
                    self.settings._replace(**given), self.main, files.read_file(self.main), self.configuration
                )
            )
        ]


@pytest.fixture
def host(tmp_path):
    return lambda *arguments: Host(tmp_path, *arguments)


def test_a_drop_in_comes_first_where_the_directory_is_read(host):
    first, second, third = host({"dovecot.conf": PARTS}).ways()
    drop_in = f"a = 1\n\n{COMMENT}\n{ADDED}\n"
    assert first == {"conf.d/11-replication.conf": drop_in, "dovecot.conf": PARTS, "replication.conf.ext": None}
    assert second["dovecot.conf"] == third["dovecot.conf"] == PARTS + BLOCK
    assert second["conf.d/11-replication.conf"] is None


@pytest.mark.parametrize(
    "main",
    ["", "!include other.d/*.conf\n", "!include conf.d/20-*.conf\n", "protocol imap {\n  !include conf.d/*.conf\n}\n"],
)
def test_no_drop_in_where_nothing_reads_it(host, main):
    assert [way["conf.d/11-replication.conf"] for way in host({"dovecot.conf": main}).ways()] == [None, None]


def test_the_way_that_was_taken_before_decides_nothing(host):
    one = host({"dovecot.conf": PARTS + BLOCK})
    assert [way["dovecot.conf"] for way in one.ways()] == [PARTS, PARTS + BLOCK, PARTS + BLOCK]


def test_by_protocol_and_outside(host):
    by_protocol, outside = host({"dovecot.conf": ""}).ways()
    assert by_protocol["replication.conf.ext"] == (
        f"a = 1\n\nprotocol lda {{\n  {COMMENT}\n  {ADDED}\n}}\n\nprotocol imap {{\n  {COMMENT}\n  {ADDED}\n}}\n"
    )
    assert outside["replication.conf.ext"] == f"a = 1\n\n{COMMENT}\n{ADDED}\n"


MAIN = """protocol imap {
  mail_plugins = quota
}
protocol !lda {
  mail_plugins = acl
}
protocol sieve {
  mail_plugins = x
}
local 192.0.2.1 {
  protocol imap {
    mail_plugins = acl
  }
}
"""


def test_every_section_that_matters_gets_its_own(host):
    by_protocol, outside = host({"dovecot.conf": MAIN}).ways()
    sections = ["protocol imap {", "protocol !lda {", "local 192.0.2.1 {\n  protocol imap {"]
    for way, lines in ((by_protocol, ["protocol lda {", *sections]), (outside, sections)):
        assert all(f"\n{line}\n" in way["replication.conf.ext"] for line in lines)
        assert "sieve" not in way["replication.conf.ext"] and "protocol pop3" not in way["replication.conf.ext"]
        assert way["replication.conf.ext"].count(ADDED) == len(lines) + (way is outside)


def test_what_comes_from_a_file_is_repeated_as_it_is_now(host, tmp_path):
    words = tmp_path / "plugins"
    words.write_text("quota notify\nacl\n")
    one = host({"dovecot.conf": f"mail_plugins = <{words}\n"})
    assert "mail_plugins = quota acl notify replication\n}" in one.ways()[0]["replication.conf.ext"]
    assert f"are those in {words}" in one.ways()[0]["replication.conf.ext"]
    value = "quota notify replication"
    assert plugins.left_out(one.settings.names, one.configuration, (), value) == ["acl"]
    assert plugins.left_out(one.settings.names, one.configuration, (), value + " acl") == []


def test_nothing_is_left_of_settings_that_go(host):
    one = host({"dovecot.conf": PARTS + BLOCK})
    assert one.ways(content="") == [
        {"conf.d/11-replication.conf": None, "dovecot.conf": PARTS, "replication.conf.ext": None}
    ]


def test_lacking(host):
    printed = (
        "mail_plugins = notify replication\nprotocols = imap\nprotocol imap {\n  mail_plugins = quota\n}\n"
        "local 192.0.2.1 {\n  protocol imap {\n    mail_plugins = acl\n  }\n}\n"
    )
    one = host({"dovecot.conf": MAIN}, printed)
    assert placement.lacking(one.settings, one.configuration, one.configuration) == [
        f"inside protocol imap it is 'quota' (set in {one.main} line 2)",
        f"inside protocol imap inside local 192.0.2.1 it is 'acl' (set in {one.main} line 12)",
    ]
