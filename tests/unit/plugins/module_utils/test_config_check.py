# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import pwd

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _config_check as config_check
from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _iteration as iteration


class Doveconf:
    """Answers from a dict of (setting, protocol) to value, and from one of sections to what is printed of them."""

    def __init__(self, answers, failure=None, sections=None):
        self.answers = answers
        self.failure = failure
        self.sections = sections or {}

    def run(self, *arguments):
        return (89, "", self.failure) if self.failure else (0, self.sections.get(arguments[0], ""), "")

    def get(self, setting, protocol=None):
        return self.answers.get((setting, protocol), self.answers.get((setting, None), ""))

    def base_dir(self):
        return "/run/dovecot"


PLUGINS = {"setting": "mail_plugins", "contains": ["notify", "replication"], "protocols": ["lda", "imap", "pop3"]}
DEFAULT = "(Dovecot's default, as no file sets it)"


@pytest.fixture
def check(tmp_path):
    """Check a configuration of given answers, whose files have the given texts."""

    def run(doveconf, files=None, settings=(), secrets=None, forbidden=(), iteration=False):
        for name, text in (files or {"dovecot.conf": ""}).items():
            (tmp_path / name).write_text(text)
        demands = config_check.Demands(settings, secrets, forbidden, iteration)
        problems = config_check.check(doveconf, str(tmp_path / "dovecot.conf"), demands)
        return [problem.replace(f"{tmp_path}/", "") for problem in problems]

    return run


def test_syntax_comes_first(check):
    assert check(Doveconf({}, "line 2: bad\n"), settings=[PLUGINS]) == ["line 2: bad"]


def test_met(check):
    answers = {("mail_plugins", None): "quota notify replication", ("protocols", None): " imap lmtp", ("p", None): "v"}
    assert check(Doveconf(answers), settings=[PLUGINS, {"setting": "p", "value": "v"}]) == []


def test_names_the_protocols_without_and_the_places(check):
    answers = {
        ("mail_plugins", None): "notify replication",
        ("mail_plugins", "imap"): "imap_quota",
        ("mail_plugins", "lda"): "",
        ("mail_plugins", "pop3"): "",
        ("protocols", None): "imap lmtp",
    }
    files = {
        "dovecot.conf": "mail_plugins = notify replication\n!include 20-imap.conf\n",
        "20-imap.conf": "\nprotocol imap {\n  mail_plugins = imap_quota\n}\n",
    }
    assert check(Doveconf(answers), files, [dict(PLUGINS, because="mail would stay here")]) == [
        "mail_plugins should contain notify replication, but inside protocol lda it is empty (set in dovecot.conf "
        "line 1), inside protocol imap it is 'imap_quota' (set in 20-imap.conf line 3): mail would stay here"
    ]


def test_value(check):
    expectation = {"setting": "plugin/mail_replica", "value": "tcp:b:1"}
    files = {"dovecot.conf": "plugin {\n mail_replica = tcp:b:1\n}\nplugin {\n mail_replica = tcp:c:1\n}\n"}
    assert check(Doveconf({("plugin/mail_replica", None): "tcp:c:1"}), files, [expectation]) == [
        "plugin/mail_replica should be 'tcp:b:1', but it is 'tcp:c:1' (set in dovecot.conf line 5)"
    ]
    assert check(Doveconf({}), settings=[expectation]) == [
        f"plugin/mail_replica should be 'tcp:b:1', but it is empty {DEFAULT}"
    ]


def test_never_shows_a_secret(check):
    answers = {("doveadm_password", None): "overridden", ("doveadm_api_key", None): "right"}
    secrets = {"doveadm_password": "wanted", "doveadm_api_key": "right"}
    files = {"dovecot.conf": "doveadm_password = overridden\n"}
    assert check(Doveconf(answers), files, secrets=secrets) == [
        "doveadm_password is not the given one; it is set in dovecot.conf line 1"
    ]


def test_what_is_forbidden_is_found_in_any_section(check):
    files = {"dovecot.conf": "protocol lmtp {\n  plugin {\n    replication_sync_timeout = 2\n  }\n}\n"}
    forbidden = [{"setting": "replication_sync_timeout", "because": "it kills"}]
    assert check(Doveconf({}), files, forbidden=forbidden) == [
        "replication_sync_timeout is set in dovecot.conf line 3: it kills"
    ]


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
    paths = {"/run/dovecot/sub/x", "/run/dovecot/f", "/abs/x"}
    assert config_check.listeners(Doveconf({}, sections={"service": SERVICES})) == paths


def userdbs(*drivers):
    return {"userdb": "".join(f"userdb {{\n  args = \n  driver = {driver}\n}}\n" for driver in drivers)}


@pytest.mark.parametrize("drivers", [["passwd-file"], ["sql"], ["static", "lua"], ["prefetch", "sql"]])
def test_userdbs_that_list(check, drivers):
    assert check(Doveconf({}, sections=userdbs(*drivers)), iteration=True) == []


def test_userdbs_that_cannot_list(check):
    files = {"dovecot.conf": "userdb {\n  driver = prefetch\n}\nuserdb {\n  driver = static\n}\n"}
    (problem,) = check(Doveconf({}, sections=userdbs("prefetch", "static")), files, iteration=True)
    assert problem.startswith(
        "the userdb with driver prefetch and static (dovecot.conf line 2, dovecot.conf line 5) cannot list its users"
    )
    (problem,) = check(Doveconf({}), iteration=True)
    assert problem == "there is no userdb, so Dovecot knows no users"


@pytest.mark.parametrize(
    "first, last, listed", [(500, 0, True), (500, 65533, False), (500, 65534, True), (70000, 0, False)]
)
def test_nobody_is_no_mailbox(check, monkeypatch, first, last, listed):
    nobody = pwd.struct_passwd(("nobody", "x", 65534, 65534, "", "/nonexistent", "/usr/sbin/nologin"))
    monkeypatch.setattr(iteration.pwd, "getpwnam", lambda name: nobody)
    answers = {("first_valid_uid", None): str(first), ("last_valid_uid", None): str(last)}
    problems = check(Doveconf(answers, sections=userdbs("passwd")), iteration=True)
    assert [problem for problem in problems if "replication_last_valid_uid: 65533" in problem] == problems
    assert bool(problems) == listed


@pytest.mark.parametrize("text, found", [("base = x\n", 1), ("iterate_filter = (a=b)\n", 0)])
def test_an_ldap_userdb_must_say_who_is_a_user(check, tmp_path, text, found):
    """Its file is looked for in the copy of the configuration."""
    (tmp_path / "ldap.conf").write_text(text)
    section = "userdb {\n  args = /etc/dovecot/ldap.conf\n  driver = ldap\n}\n"
    demands = config_check.Demands([], None, [], True)
    (tmp_path / "dovecot.conf").write_text("")
    doveconf = Doveconf({}, sections={"userdb": section})
    problems = config_check.check(doveconf, str(tmp_path / "dovecot.conf"), demands, "/etc/dovecot")
    assert [problem for problem in problems if "/etc/dovecot/ldap.conf sets no iterate_filter" in problem] == problems
    assert len(problems) == found
