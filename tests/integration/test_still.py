# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shows best on a replicator that starts no sync, so that its list stays as it is."""

import pytest
from still import Still

A, B = "a@x.org", "b@x.org"
ODD = [
    "tab\there@x.org",
    "new\nline@x.org",
    "\x01@x.org",
    "-dash@x.org",
    "100%u@x.org",
    "two words",
    "ünï@x.org",
    "[a]'\"\\",
    "--",
    " space ",
    "%{user}{{ 1 }}$(id)`id`;&|<>",
    "l" * 300 + "@x.org",
    "\r\x7f\x1b[31m\u2028",
]
# As the replicator may have them from a userdb: bytes that are no UTF-8, as Python keeps them.
NO_UTF8 = ["\udcff\udcfe@x.org", "caf\udce9@x.org"]


@pytest.fixture(autouse=True)
def users(still):
    still.have_users({A: "", B: ""})


def add(still, name):
    still.agent.shell(f"doveadm -c {still.CONFIG} replicator add {name}")


@pytest.fixture(params=["socket", "doveadm", "http"])
def way(pair, request):
    """Options of each transport."""
    if request.param == "http" and pair.release == "bullseye":
        pytest.skip("before Dovecot 2.3.17 the API has no replicator commands")
    return dict(transport=request.param, **(Still.API if request.param == "http" else {}))


def test_names_with_any_characters(still, way):
    options = dict(check_userdb=False, **way)
    result = still.module("replicator_user", users=ODD, **options)
    assert result["added"] == sorted(ODD)
    assert still.module("replicator_user", users=ODD, **options)["changed"] is False
    listed = still.module("replicator_info", users=ODD, **way)["users"]
    assert [user["username"] for user in listed] == sorted(ODD)
    assert still.module("replicator_replicate", users=ODD, priority="high", **options)["requested"] == sorted(ODD)
    assert still.module("replicator_user", users=ODD, state="absent", **options)["removed"] == sorted(ODD)


def test_names_that_are_not_utf8(still, way):
    """From the server into the result, which is JSON, and back. doveadm's JSON does not have them, which is told."""
    names = sorted(NO_UTF8)
    options = dict(check_userdb=False, **way)
    for name in NO_UTF8:
        octal = "".join(f"\\{byte:03o}" for byte in name.encode("utf-8", "surrogateescape"))
        add(still, f"\"$(printf '{octal}')\"")
    if way["transport"] != "socket":
        for name, given in [
            ("replicator_info", dict(user_mask="*")),
            ("replicator_user", dict(user_mask="*", state="absent")),
        ]:
            result = still.module(name, **given, **way)
            assert result["failed"] and "no UTF-8; the transport socket" in result["msg"], result
        way, options = {}, dict(check_userdb=False)
    assert [user["username"] for user in still.module("replicator_info", users=names, **way)["users"]] == names
    assert still.module("replicator_user", users=names, **options)["changed"] is False
    assert still.module("replicator_user", users=names, state="absent", **options)["removed"] == names
    assert still.module("replicator_info", users=names, **way)["users"] == []


def test_a_mask_that_matches_everything(still, way):
    still.module("replicator_user", users=ODD, check_userdb=False, **way)
    for mask in ("*", "**", "*?*", "?*"):
        listed = still.module("replicator_info", user_mask=mask, gather=["users"], **way)["users"]
        assert {user["username"] for user in listed} >= set(ODD), mask
    removed = still.module("replicator_user", user_mask="***", state="absent", **way)["removed"]
    assert set(ODD) <= set(removed) and still.module("replicator_info", user_mask="*", **way)["users"] == []


@pytest.mark.on_one
@pytest.mark.parametrize("name", ["", "nul\0", "*", "a?"])
def test_names_that_cannot_be(still, way, name):
    result = still.module("replicator_user", users=[A, name], check_userdb=False, **way)
    assert result["failed"] and "Reading the names" in result["msg"]


@pytest.mark.on_one
def test_thousands_of_names_over_one_connection(still):
    names = [f"user{number:05}@x.org" for number in range(3000)]
    assert still.module("replicator_user", users=names, check_userdb=False)["added"] == names
    assert still.module("replicator_user", users=names, check_userdb=False)["changed"] is False
    overview = still.module("replicator_info")["overview"]
    assert overview["queued_low"] == 3000 and overview["known_users"] >= 3000
    result = still.module("replicator_user", user_mask="user*", state="absent")
    assert result["removed"] == names and "warnings" not in result


def test_a_user_that_is_only_added_is_not_done(still):
    still.module("replicator_user", user_mask="*", state="absent")
    add(still, A)
    (user,) = still.module("replicator_info", user_mask="*")["users"]
    assert user["priority"] == "none" and not user["running"] and not user["failed"]
    assert still.module("replicator_wait", wait_timeout=0)["pending_users"] == [A]


def test_a_replicator_that_never_starts_a_sync(still):
    result = still.module("replicator_replicate", users=[A, B], wait=True, wait_timeout=0.5)
    assert result["failed"] and result["pending_users"] == [A, B] and "replication_max_conns = 0" in result["msg"]


@pytest.mark.on_one
def test_many_users_are_waited_for_with_few_reads_of_the_list(still):
    """The replicator's answers are counted by tracing: two for a user that is idle, not one for each user."""
    names = [f"user{number:05}@x.org" for number in range(2000)]
    still.module("replicator_user", users=names, check_userdb=False)
    counted = (
        "import ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.socket_client as c\n"
        "right = c.SocketClient._paragraph; polls = []\n"
        "def counting(self, *fields):\n    polls.append(fields); open('/srv/polls', 'w').write(str(len(polls)))\n"
        "    return right(self, *fields)\n"
        "c.SocketClient._paragraph = counting"
    )
    result = still.module("replicator_wait", wait_timeout=5, fault=counted)
    assert result["failed"] and len(result["pending_users"]) >= 2000 and "and" in result["msg"]
    assert int(still.agent.shell("cat /srv/polls")) < 25


def test_a_dead_auth_process_is_no_empty_userdb(still):
    """A userdb needs a passdb beside it, else the auth process dies."""
    reload = f"doveadm -c {still.CONFIG} reload; sleep 1"
    still.agent.shell(f"cp {still.CONFIG} /srv/still.conf; sed -i '/^passdb/,/^}}/d' {still.CONFIG}; {reload}")
    try:
        results = [
            still.module("replicator_user", timeout=5, **options) for options in (dict(user_mask="*"), dict(users=[A]))
        ]
    finally:
        still.agent.shell(f"mv /srv/still.conf {still.CONFIG}; {reload}")
    for result in results:
        assert result["failed"] and "auth" in result["msg"] and "Dovecot's log" in result["msg"], result


@pytest.mark.on_one
@pytest.mark.parametrize(
    "name, options, words",
    [
        ("replicator_info", dict(timeout=0), "timeout"),
        ("replicator_info", dict(limit=-1), "limit"),
        ("replicator_wait", dict(wait_timeout=-1), "wait_timeout"),
        ("replicator_wait", dict(max_failed=-1), "max_failed"),
        ("replicator_replicate", dict(users=[A], wait_timeout=-1), "wait_timeout"),
        ("replicator_replicate", dict(users=[A], max_age="-5m"), "max_age"),
        ("replicator_info", dict(transport="http"), "api_url"),
        ("replicator_info", dict(api_key="secret"), "api_url"),
    ],
)
def test_numbers_and_options_that_make_no_sense(still, name, options, words):
    result = still.module(name, **options)
    assert result["failed"] and words in result["msg"]
