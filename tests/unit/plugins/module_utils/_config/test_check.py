# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import pwd

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import check as config_check
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import iteration
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration

PLUGINS = {"setting": "mail_plugins", "contains": ["notify", "replication"], "protocols": ["lda", "imap", "pop3"]}
CONFIG_DIR = "/etc/dovecot"
DEFAULT = "(Dovecot's default, as no file sets it)"


@pytest.fixture
def check(tmp_path):
    """Check a configuration, given what doveconf prints and the texts of its files."""

    def run(printed, files=None, settings=(), secrets=None, forbidden=(), iteration=False, written=(), complaint=None):
        for name, text in (files or {"dovecot.conf": ""}).items():
            (tmp_path / name).write_text(text)
        demands = config_check.Demands(settings, secrets, forbidden, iteration, [f"{CONFIG_DIR}/{x}" for x in written])
        configuration = Configuration(f"# 2.3.19.1 (9b53): {tmp_path}/dovecot.conf\n{printed}", complaint)
        problems = config_check.check(configuration, demands, str(tmp_path), CONFIG_DIR)
        return [problem.replace(f"{tmp_path}/", "") for problem in problems]

    return run


def test_syntax_comes_first(check):
    assert check("", settings=[PLUGINS], complaint="line 2: bad") == ["line 2: bad"]


def test_met(check):
    printed = 'mail_plugins = " quota notify replication"\nprotocols = " imap lmtp"\np = v\n'
    assert check(printed, settings=[PLUGINS, {"setting": "p", "value": "v"}]) == []


def test_names_the_protocols_without_and_the_places(check):
    printed = (
        "mail_plugins = notify replication\nprotocols = imap lmtp\nprotocol imap {\n  mail_plugins = imap_quota\n}\n"
        "protocol lda {\n  mail_plugins = \n}\nprotocol pop3 {\n  mail_plugins = \n}\n"
    )
    files = {
        "dovecot.conf": "mail_plugins = notify replication\n!include 20-imap.conf\n",
        "20-imap.conf": "\nprotocol imap {\n  mail_plugins = imap_quota\n}\nprotocol lda {\n  mail_plugins =\n}\n",
    }
    assert check(printed, files, [dict(PLUGINS, because="mail would stay here")]) == [
        "mail_plugins should contain notify replication, but inside protocol lda it is empty (set in 20-imap.conf "
        "line 6), inside protocol imap it is 'imap_quota' (set in 20-imap.conf line 3): mail would stay here"
    ]


def test_value(check):
    expectation = {"setting": "plugin/mail_replica", "value": "tcp:b:1"}
    files = {"dovecot.conf": "plugin {\n mail_replica = tcp:b:1\n}\nplugin {\n mail_replica = tcp:c:1\n}\n"}
    assert check("plugin {\n  mail_replica = tcp:c:1\n}\n", files, [expectation]) == [
        "plugin/mail_replica should be 'tcp:b:1', but it is 'tcp:c:1' (set in dovecot.conf line 5)"
    ]
    assert check("", settings=[expectation]) == [f"plugin/mail_replica should be 'tcp:b:1', but it is empty {DEFAULT}"]


def test_directories_are_compared_as_such(check, tmp_path):
    (tmp_path / "linked").symlink_to(tmp_path)
    wanted = [{"setting": "base_dir", "value": str(tmp_path)}]
    assert check(f"base_dir = {tmp_path}/linked/\n", settings=wanted) == []
    assert check(f"base_dir = {tmp_path}/other\n", settings=wanted) != []


def test_never_shows_a_secret(check):
    printed = "doveadm_password = overridden\ndoveadm_api_key = right\n"
    secrets = {"doveadm_password": "wanted", "doveadm_api_key": "right"}
    files = {"dovecot.conf": "doveadm_password = overridden\n"}
    assert check(printed, files, secrets=secrets) == [
        "doveadm_password is not the given one; it is set in dovecot.conf line 1"
    ]


@pytest.mark.parametrize("secret", ['"q"', " x ", "a#b", "tail\\", "it's", "<x", "$x"])
def test_secrets_are_compared_to_the_letter(check, secret):
    """As doveconf prints them, with quotes around blanks and # only."""
    quoted = f'"{secret}"' if "#" in secret or " " in secret else secret
    printed = f"doveadm_password = {quoted}\ndoveadm_port = 1\n"
    port = [{"setting": "doveadm_port", "value": "1"}]
    assert check(printed, secrets={"doveadm_password": secret}, settings=port) == []
    assert check(printed, secrets={"doveadm_password": secret + " "}) != []


PRINTED = """max = 10 M
mail_replica = tcp:c:1
protocols = imap
doveadm_password = other
service replicator {
  process_min_avail = 0
}
protocol imap {
  max = 5 M
}
"""


@pytest.mark.parametrize(
    "written, problem",
    [
        ("max = 10M", None),
        (
            "max = 9M",
            "max should be '9M', but it is '10 M' (set in 11-x.conf line 1)",
        ),
        ("max = 1M\nmax = 10M", None),
        ("protocol imap {\n max = 5M\n}", None),
        (
            "protocol imap {\n max = 10M\n}",
            "max should be '10M', but inside protocol imap it is '5 M' (set in 11-x.conf line 2)",
        ),
        ("protocol pop3 {\n max = 1M\n}", None),
        ("local 10.0.0.1 {\n max = 1M\n}", None),
        ("max = $max 1", None),
        ("older_name = 1", None),
        ("userdb {\n driver = sql\n}", None),
        (
            "service replicator {\n  # Without this it starts late.\n  process_min_avail = 1\n}",
            "service/replicator/process_min_avail should be '1', but it is '0' (set in 11-x.conf line 3): "
            "Without this it starts late",
        ),
        (
            "doveadm_password = mine",
            "doveadm_password should be as written, but it is something else (set in 11-x.conf line 1)",
        ),
    ],
)
def test_what_is_written_is_expected(check, written, problem):
    files = {"dovecot.conf": "!include 11-x.conf\n", "11-x.conf": written}
    assert check(PRINTED, files, written=["11-x.conf"]) == ([problem] if problem else [])


def test_what_overrides_is_named(check):
    files = {"dovecot.conf": "!include 11-x.conf\n\nmax = 10M\n", "11-x.conf": "max = 1M\n"}
    (problem,) = check(PRINTED, files, written=["11-x.conf"])
    assert "it is '10 M' (set in dovecot.conf line 3), not as in 11-x.conf line 1" in problem
    expectation = [{"setting": "max", "value": "10M"}]
    assert check(PRINTED, files, expectation, written=["11-x.conf"]) == []


@pytest.mark.parametrize("name, overlooked", [("x.conf", True), ("x.conf.ext", False), ("ldap.conf", False)])
def test_a_file_that_dovecot_does_not_read(check, name, overlooked):
    problems = check(
        "userdb {\n  args = /etc/dovecot/ldap.conf\n}\n", {"dovecot.conf": "", name: "a = 1"}, written=[name]
    )
    assert problems == ([f"Dovecot does not read /etc/dovecot/{name}: no !include names it"] if overlooked else [])


def test_a_file_that_only_includes_others_has_nothing_to_compare(check):
    files = {"dovecot.conf": "!include 11-x.conf\n", "11-x.conf": "!include secret.ext\n", "secret.ext": "max = 10M\n"}
    assert check(PRINTED, files, written=["11-x.conf"]) == []


def test_a_forbidden_value_counts_where_it_is_in_force(check):
    files = {"dovecot.conf": "mail_location = mbox:~/mail\nmail_location = maildir:~/x\n"}
    forbidden = [{"setting": name, "value_begins": "mbox:", "because": "no"} for name in ("mail_location", "location")]
    assert check("mail_location = maildir:~/x\n", files, forbidden=forbidden) == []
    printed = "mail_location = mbox:~/mail\nnamespace a {\n  location = mbox:~/b\n}\n"
    (own, inside) = check(printed, {"dovecot.conf": printed}, forbidden=forbidden)
    assert own == "mail_location should not begin with mbox:, but it is 'mbox:~/mail' (set in dovecot.conf line 1): no"
    assert inside.startswith("namespace[1]/location should not begin") and "dovecot.conf line 3" in inside


def test_what_is_forbidden_is_found_in_any_section(check):
    files = {"dovecot.conf": "protocol lmtp {\n  plugin {\n    replication_sync_timeout = 2\n  }\n}\n"}
    forbidden = [{"setting": "replication_sync_timeout", "because": "it kills"}]
    assert check("", files, forbidden=forbidden) == ["replication_sync_timeout is set in dovecot.conf line 3: it kills"]


def userdbs(*drivers):
    return "".join(f"userdb {{\n  args = \n  driver = {driver}\n}}\n" for driver in drivers)


@pytest.mark.parametrize("drivers", [["passwd-file"], ["sql"], ["prefetch", "sql"]])
def test_userdbs_that_list(check, drivers):
    assert check(userdbs(*drivers), iteration=True) == []


def test_userdbs_that_cannot_list(check):
    files = {"dovecot.conf": "userdb {\n  driver = prefetch\n}\nuserdb {\n  driver = static\n}\n"}
    (problem,) = check(userdbs("prefetch", "static"), files, iteration=True)
    assert problem.startswith(
        "the userdb with driver prefetch and static (dovecot.conf line 2, dovecot.conf line 5) cannot list its users"
    )
    (problem,) = check("", iteration=True)
    assert problem == "there is no userdb, so Dovecot knows no users"


def test_one_userdb_that_lists_does_not_excuse_another(check):
    (problem,) = check(userdbs("lua", "static"), iteration=True)
    assert problem.startswith("the userdb with driver static cannot list") and "require_iteration: false" in problem
    adding = userdbs("lua", "static").replace("driver = static", "driver = static\n  result_success = continue")
    assert check(adding, iteration=True) == []


@pytest.mark.parametrize(
    "args, lists",
    [
        ("/etc/users", True),
        ("username_format=%n /etc/users", True),
        ("/etc/100%%/users", True),
        ("username_format=%n /etc/x/%d/passwd", False),
        ("/etc/x/%{domain}/passwd", False),
    ],
)
def test_a_passwd_file_with_variables_in_its_path(check, args, lists):
    files = {"dovecot.conf": f"userdb {{\n  args = {args}\n  driver = passwd-file\n}}\n"}
    problems = check(files["dovecot.conf"], files, iteration=True)
    assert [problem for problem in problems if "(dovecot.conf line 2) cannot list its users" in problem] == problems
    assert (problems == []) == lists


ACCOUNTS = [
    pwd.struct_passwd(fields)
    for fields in (
        ("root", "x", 0, 0, "", "/", "/bin/sh"),
        ("systemd-network", "x", 998, 998, "", "/", "/usr/sbin/nologin"),
        ("erna", "x", 1000, 1000, "", "/nonexistent", "/bin/sh"),
        ("nobody", "x", 65534, 65534, "", "/nonexistent", "/usr/sbin/nologin"),
    )
]
FIRST, LAST = "replication_first_valid_uid: 1000", "replication_last_valid_uid: 65533"


@pytest.mark.parametrize(
    "first, last, cure",
    [
        (500, 0, f"set {FIRST} and {LAST}, when"),
        (500, 65533, f"set {FIRST}, when"),
        (1000, 65534, f"set {LAST}, when"),
        (1000, 65533, ""),
        (70000, 0, ""),
    ],
)
def test_system_accounts_without_a_home_are_no_mailboxes(check, monkeypatch, first, last, cure):
    monkeypatch.setattr(iteration.pwd, "getpwall", lambda: ACCOUNTS)
    monkeypatch.setattr(iteration, "LOGIN_DEFS", "/nonexistent")
    printed = f"first_valid_uid = {first}\nlast_valid_uid = {last}\n" + userdbs("passwd")
    problems = check(printed, iteration=True)
    assert [problem for problem in problems if cure and cure in problem] == problems
    assert bool(problems) == bool(cure)


def test_a_limit_that_is_no_number_is_the_usual_one(check, monkeypatch, tmp_path):
    limits = tmp_path / "login.defs"
    limits.write_text("UID_MIN ²\nUID_MAX 60000\n", encoding="utf-8")
    monkeypatch.setattr(iteration, "LOGIN_DEFS", str(limits))
    monkeypatch.setattr(iteration.pwd, "getpwall", lambda: ACCOUNTS)
    (problem,) = check("first_valid_uid = 500\nlast_valid_uid = 65533\n" + userdbs("passwd"), iteration=True)
    assert f"set {FIRST}, when" in problem


def test_a_system_account_with_a_home_of_its_own_is_a_mailbox(check, monkeypatch, tmp_path):
    uid = tmp_path.stat().st_uid
    entry = pwd.struct_passwd(("old", "x", uid, 600, "", str(tmp_path), "/bin/sh"))
    monkeypatch.setattr(iteration.pwd, "getpwall", lambda: [entry])
    assert check("first_valid_uid = 0\nlast_valid_uid = 0\n" + userdbs("passwd"), iteration=True) == []


@pytest.mark.parametrize("text, found", [("base = x\n", 1), ("iterate_filter = (a=b)\n", 0)])
def test_an_ldap_userdb_must_say_who_is_a_user(check, tmp_path, text, found):
    """Its file is looked for in the copy of the configuration."""
    (tmp_path / "ldap.conf").write_text(text)
    section = "userdb {\n  args = /etc/dovecot/ldap.conf\n  driver = ldap\n}\n"
    problems = check(section, iteration=True)
    assert [problem for problem in problems if "/etc/dovecot/ldap.conf sets no iterate_filter" in problem] == problems
    assert len(problems) == found
