# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""replicator_user on live hosts."""

import pytest
from conftest import MX2

pytestmark = pytest.mark.usefixtures("transport")

ALICE, BOB, CAROL, DAVE = (f"{name}@example.org" for name in ["alice", "bob", "carol", "dave"])
EVERYONE = [ALICE, BOB, CAROL, DAVE]
REPORTED = ["changed", "added", "removed", "unknown_users", "known_users", "diff"]


@pytest.fixture(autouse=True)
def everyone_listed(pair):
    pair.replicator("add", "*")
    for name in set(pair.listed()).difference(EVERYONE):
        pair.replicator("remove", name)
    assert pair.listed() == EVERYONE


def converge(pair, **options):
    """Check run, real run, second run; return the real run's result after comparing the three."""
    before = pair.listed()
    predicted = pair.module("replicator_user", check=True, **options)
    assert pair.listed() == before, "a check run changes nothing"
    assert not predicted["failed"], predicted["msg"]
    real = pair.module("replicator_user", **options)
    assert {key: predicted[key] for key in REPORTED} == {key: real[key] for key in REPORTED}
    again = pair.module("replicator_user", **options)
    assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    assert again["diff"]["before"] == again["diff"]["after"]
    assert again["known_users"] == real["known_users"] == len(pair.listed())
    return real


def test_add(pair):
    for name in (BOB, DAVE):
        pair.replicator("remove", name)
    result = converge(pair, users=[DAVE, ALICE, BOB])
    assert result["added"] == [BOB, DAVE]
    assert result["diff"]["after"] == f"{BOB}\n{DAVE}\n" and result["diff"]["before"] == ""
    assert pair.listed() == EVERYONE


def test_added_users_are_synced(pair):
    pair.replicator("remove", BOB)
    token = pair.save_unnoticed(BOB)
    result = pair.module("replicator_user", users=[BOB], wait=True)
    assert result["synced_users"] == [BOB]
    assert pair.arrived(BOB, token, seconds=1) is not None


def test_remove_and_the_warning_that_it_does_not_last(pair):
    result = pair.module("replicator_user", name=[CAROL], state="absent", check=True)
    assert "does not last" in result["warnings"][0] and "noreplicate" in result["warnings"][0]
    result = converge(pair, name=[CAROL, "never-there@example.org"], state="absent")
    assert result["removed"] == [CAROL]
    assert pair.listed() == [ALICE, BOB, DAVE]


def test_a_name_the_userdb_lacks_stops_everything(pair):
    pair.replicator("remove", BOB)
    for check in (True, False):
        result = pair.module("replicator_user", users=[BOB, "nobody@example.org"], check=check)
        assert result["failed"] and result["unknown_users"] == ["nobody@example.org"]
        assert "nobody@example.org" in result["msg"] and "check_userdb" in result["msg"]
    assert pair.listed() == [ALICE, CAROL, DAVE]


def test_names_are_spelt_as_the_userdb_spells_them(pair):
    assert converge(pair, users=["ALICE@Example.ORG"])["added"] == []
    pair.replicator("remove", ALICE)
    assert converge(pair, users=["ALICE@Example.ORG", ALICE])["added"] == [ALICE]
    assert pair.listed() == EVERYONE


def test_a_mailbox_never_has_two_entries(pair):
    other = "Alice@EXAMPLE.org"
    pair.replicator("remove", ALICE)
    pair.replicator("replicate", other)
    assert other in pair.listed()
    result = converge(pair, users=[ALICE])
    assert (result["added"], result["removed"]) == ([ALICE], [other]) and "warnings" not in result
    assert pair.listed() == EVERYONE
    pair.replicator("replicate", other)
    assert converge(pair, user_mask="*@example.org")["removed"] == [other]
    pair.replicator("replicate", other)
    assert converge(pair, users=["ALICE@example.org"], state="absent")["removed"] == [other, ALICE]
    assert pair.listed() == [BOB, CAROL, DAVE]


@pytest.mark.replicator
def test_users_that_are_not_to_be_replicated_stay_off_the_list(pair):
    nora = "nora@example.org"
    pair.replicator("remove", BOB)
    with pair.account(nora, "userdb_noreplicate=yes"):
        named = pair.module("replicator_user", users=[BOB, nora])
        assert named["failed"] and named["noreplicate_users"] == [nora] and "noreplicate" in named["msg"]
        assert pair.listed() == [ALICE, CAROL, DAVE]
        result = converge(pair, user_mask="*@example.org")
        assert result["added"] == [BOB] and result["noreplicate_users"] == [nora]


def test_a_name_that_is_listed_but_not_found_is_left_out(pair):
    odd = "o'neil@example.org"
    with pair.account(odd):
        result = converge(pair, user_mask="*@example.org")
    assert result["unknown_users"] == [odd] and "auth_username_chars" in result["warnings"][0]


def test_a_name_like_an_option(pair):
    dash = "-f-dash@example.org"
    with pair.account(dash):
        assert pair.module("replicator_user", users=[dash], wait=True)["synced_users"] == [dash]
        assert dash in pair.listed()
        assert pair.module("replicator_replicate", users=[dash], full=True, wait=True)["synced_users"] == [dash]
        assert [user["username"] for user in pair.module("replicator_info", users=[dash])["users"]] == [dash]
        assert converge(pair, users=[dash], state="absent")["removed"] == [dash]


def test_mask_against_the_userdb_and_against_the_list(pair):
    assert converge(pair, user_mask="?a*@example.org", state="absent")["removed"] == [CAROL, DAVE]
    assert pair.listed() == [ALICE, BOB]
    assert converge(pair, user_mask="*@example.org")["added"] == [CAROL, DAVE]
    result = pair.module("replicator_user", user_mask="zz*")
    assert result["changed"] is False and "zz*" in result["warnings"][0]


def test_exclusive_everywhere_and_within_a_mask(pair):
    assert converge(pair, users=[CAROL], user_mask="?a*", exclusive=True)["removed"] == [DAVE]
    assert pair.listed() == [ALICE, BOB, CAROL]
    result = converge(pair, users=[ALICE, DAVE], exclusive=True)
    assert (result["added"], result["removed"]) == ([DAVE], [BOB, CAROL])
    assert pair.listed() == [ALICE, DAVE]


@pytest.mark.on_one
@pytest.mark.parametrize(
    "options, words",
    [
        (dict(users=[], exclusive=True), "empty"),
        (dict(user_mask="*", exclusive=True), "list of users"),
        (dict(users=[ALICE], exclusive=True, state="absent"), "state=present"),
        (dict(users=[ALICE, CAROL], user_mask="c*", exclusive=True), "Outside of user_mask"),
        (dict(users=[ALICE], user_mask="a*"), "exclude each other"),
        (dict(users=["a*@example.org"]), "user_mask"),
        (dict(users=[""]), "empty"),
        (dict(), "one of the following is required"),
    ],
)
def test_what_makes_no_sense_is_refused(pair, options, words):
    result = pair.module("replicator_user", **options)
    assert result["failed"] and words in result["msg"]
    assert pair.listed() == EVERYONE


def test_added_users_do_not_wait_behind_a_failed_one(pair):
    """Up to Dovecot 2.3.19 a user that is only added waits as long as any other user is failing."""
    pair.shell("chmod 0 /srv/vmail", MX2)
    try:
        assert pair.module("replicator_replicate", users=[CAROL], wait=True)["failed_users"] == [CAROL]
    finally:
        pair.shell("chmod 755 /srv/vmail", MX2)
    pair.replicator("remove", BOB)
    result = pair.module("replicator_user", users=[BOB], wait=True, wait_timeout=30)
    assert result["synced_users"] == [BOB]


@pytest.mark.replicator
def test_a_userdb_that_cannot_be_listed_is_explained(pair):
    auth = "/etc/dovecot/conf.d/10-auth.conf"
    static = "userdb {\\n driver = static\\n args = uid=vmail gid=vmail home=/srv/vmail/%u\\n}\\n"
    pair.shell(
        f"cp -a {auth} /srv/auth; sed -i '/^userdb/,$d' {auth}; printf '{static}' >> {auth}; doveadm reload; sleep 1"
    )
    try:
        result = pair.module("replicator_user", user_mask="*")
        assert result["failed"]
        assert "cannot list its users" in result["msg"] and "iterate_query" in result["msg"]
    finally:
        pair.shell(f"cp -a /srv/auth {auth}; doveadm reload; sleep 1")


def test_a_result_does_not_repeat_a_long_list_of_users(pair):
    """ansible-core before 2.21 puts the options of a task into each result, and so into each event of a job."""
    names = [f"user{number}@example.org" for number in range(10, 22)]
    options = ["-e", "ansible_inject_invocation=true"]
    result = pair.module("replicator_user", users=names, check_userdb=False, check=True, ansible_options=options)
    assert result["added"] == names
    assert result["invocation"]["module_args"]["users"] == [", ".join(names[:10]) + " and 2 more"]


@pytest.mark.on_one
@pytest.mark.parametrize("transport", ["socket"], indirect=True)
def test_users_of_a_file(pair, transport, tmp_path):
    """Read on the controller; a mistake is told with its line and changes nothing; a long list goes the same way."""
    path = tmp_path / "replicated.txt"
    path.write_text(f"# exactly these\n{ALICE}\n{BOB} # of sales\n")
    by_ansible = dict(users_file=str(path), ansible_options=[])
    foreseen = pair.module("replicator_user", **by_ansible, exclusive=True, check=True)
    done = pair.module("replicator_user", **by_ansible, exclusive=True, wait=True)
    assert foreseen["removed"] == done["removed"] != [] and pair.listed() == [ALICE, BOB]
    assert "'_users'" not in str(done)
    again = pair.module("replicator_user", **by_ansible, exclusive=True)
    assert again["changed"] is False
    assert pair.module("replicator_replicate", **by_ansible, wait=True)["synced_users"] == [ALICE, BOB]
    assert pair.module("replicator_wait", **by_ansible, until="synced")["synced_users"] == [ALICE, BOB]
    path.write_text(f"{ALICE}\n\n{ALICE}\n")
    for name in ("replicator_user", "replicator_replicate"):
        result = pair.module(name, **by_ansible)
        assert result["failed"] and f"'{ALICE}' in line 3 is in line 1 already" in result["msg"]
    result = pair.module("replicator_user", users_file="nosuch.txt", ansible_options=[])
    assert result["failed"] and "Reading users_file failed" in result["msg"] and "nosuch.txt" in result["msg"]
    path.write_text(ALICE)
    result = pair.module("replicator_user", **by_ansible, users=[ALICE])
    assert result["failed"] and "mutually exclusive" in result["msg"]
    assert "on the controller" in pair.agent().module("replicator_user", users_file=str(path))["msg"]
    many = [f"user{number}@example.org" for number in range(2000)]
    result = pair.module("replicator_user", users=many, check_userdb=False, ansible_options=[], check=True)
    assert result["added"] == sorted(many)
    assert pair.listed() == [ALICE, BOB]
