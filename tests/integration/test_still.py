# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What shows best on a replicator that starts no sync, so that its list stays as it is."""

import pytest

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
]


@pytest.fixture(autouse=True)
def users(still):
    still.have_users({A: "", B: ""})


def add(still, name):
    still.agent.shell(f"doveadm -c {still.CONFIG} replicator add {name}")


@pytest.mark.parametrize("transport", ["socket", "doveadm"])
def test_names_with_any_characters(still, transport):
    options = dict(check_userdb=False, transport=transport)
    result = still.module("replicator_user", users=ODD, **options)
    assert result["added"] == sorted(ODD)
    assert still.module("replicator_user", users=ODD, **options)["changed"] is False
    listed = still.module("replicator_info", users=ODD, transport=transport)["users"]
    assert [user["username"] for user in listed] == sorted(ODD)
    assert still.module("replicator_replicate", users=ODD, priority="high", **options)["requested"] == sorted(ODD)
    assert still.module("replicator_user", users=ODD, state="absent", **options)["removed"] == sorted(ODD)


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
    assert still.module("replicator_wait", timeout=0)["pending_users"] == [A]


def test_a_replicator_that_never_starts_a_sync(still):
    result = still.module("replicator_replicate", users=[A, B], wait=True, wait_timeout=0.5)
    assert result["failed"] and result["pending_users"] == [A, B] and "replication_max_conns = 0" in result["msg"]


def test_many_users_are_waited_for_with_few_reads_of_the_list(still):
    """The replicator's answers are counted by tracing: two for a user that is idle, not one for each user."""
    names = [f"user{number:05}@x.org" for number in range(2000)]
    still.module("replicator_user", users=names, check_userdb=False)
    counted = (
        "import ansible_collections.mailops.dovecot_replication.plugins.module_utils._socket_client as c\n"
        "right = c.SocketClient._paragraph; polls = []\n"
        "def counting(self, *fields):\n    polls.append(fields); open('/srv/polls', 'w').write(str(len(polls)))\n"
        "    return right(self, *fields)\n"
        "c.SocketClient._paragraph = counting"
    )
    result = still.module("replicator_wait", timeout=5, fault=counted)
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


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("replicator_info", dict(timeout=0), "timeout"),
        ("replicator_info", dict(limit=-1), "limit"),
        ("replicator_wait", dict(timeout=-1), "timeout"),
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
