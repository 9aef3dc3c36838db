# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follows from observations that a live host is hard to bring into, and how findings are told."""

import copy

import pytest
from observations import MX1, MX2, change, healthy, scope, timed

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import PAIR_RULES, RULES, findings


@pytest.fixture
def seen():
    return {MX1: healthy(MX1), MX2: healthy(MX2)}


def ids(found):
    return [(finding["host"], finding["id"]) for finding in found]


def test_a_healthy_pair(seen):
    assert findings(seen) == []
    assert findings(seen, {"probes": [], "syncs": {MX1: "", MX2: ""}, "differing": [], "compared": 4}) == []


@pytest.mark.parametrize("setting", ["listen", "service/doveadm/inet_listener/replication/address"])
@pytest.mark.parametrize(
    "bound, found",
    [("198.51.100.7", True), ("127.0.0.1 ::1", True), ("*", False), ("192.0.2.1, 127.0.0.1", False), ("mx1", False)],
)
def test_a_listener_at_other_addresses(setting, bound, found):
    """Only where the peer cannot connect; a name could be any address."""
    here, there = healthy(MX1), healthy(MX2)
    change(here, setting, bound, "dovecot.conf line 1")
    assert findings({MX1: here, MX2: there}) == []
    there["peer"]["stage"] = "connect"
    named = {finding["id"]: finding for finding in findings({MX1: here, MX2: there})}
    assert set(named) == {"peer_unreachable"} | ({"listens_elsewhere"} if found else set())
    if found:
        assert named["listens_elsewhere"]["host"] == MX1
        assert '`replication_listen: ["192.0.2.1"]`' in named["listens_elsewhere"]["cure"]


def test_mail_processes_in_a_chroot():
    seen = healthy(MX1)
    seen["userdb"]["chrooted"] = {"count": 1, "first": ["a@x"]}
    (found,) = findings({MX1: seen})
    assert found["id"] == "chrooted" and found["evidence"] == "it is so for a@x"
    change(seen, "mail_chroot", "/srv", "dovecot.conf line 3")
    assert findings({MX1: seen})[0]["cure"].startswith("Remove dovecot.conf line 3")


def test_one_host_alone(seen):
    assert findings({MX1: seen[MX1]}) == []


def test_a_queue_that_stands(seen):
    seen[MX1]["replicator"]["standing"] = {"count": 1, "first": ["alice"]}
    (finding,) = findings(seen)
    assert finding["id"] == "queue_standing" and "alice" in finding["evidence"]
    change(seen[MX1], "replication_max_conns", "0", "replication-hold.conf.ext line 3")
    assert ids(findings(seen)) == [(MX1, "on_hold")]


def test_idle_slots_and_old_successes_are_nothing(seen):
    seen[MX2]["replicator"]["running"] = [
        {"username": "alice", "type": "full", "status": "Waiting for dsync to finish", "seconds": 5000}
    ]
    assert findings(seen) == []


def test_starvation_only_where_the_queue_starves(seen):
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": ["alice"]}
    assert ids(findings(seen)) == [(MX1, "users_failing")]
    seen[MX1]["dovecot_version"] = "2.3.19.1 (abc)"
    assert ids(findings(seen)) == [(MX1, "users_failing"), (MX1, "starvation")]


@pytest.mark.parametrize(
    "proof, expected",
    [
        ({"sent": False, "announced": False, "arrived": False, "message": "No quota"}, "probe_not_saved"),
        ({"sent": True, "announced": False, "arrived": True, "message": ""}, "probe_not_announced"),
        ({"sent": True, "announced": False, "arrived": False, "message": "0 of 1 synced"}, "probe_lost"),
        ({"sent": True, "announced": True, "arrived": True, "message": ""}, None),
    ],
)
def test_probes(seen, proof, expected):
    found = findings(seen, {"probe_user": "probe", "probes": [{"from": MX2, "to": MX1, **proof}]})
    assert ids(found) == ([(MX2, expected)] if expected else [])
    assert all(proof["message"] in finding["evidence"] for finding in found)


def test_a_sync_that_failed(seen):
    (finding,) = findings(seen, {"syncs": {MX1: "", MX2: "0 of 4 users synced"}})
    assert (finding["host"], finding["id"], finding["evidence"]) == (MX2, "sync_failed", "0 of 4 users synced")


def test_errors_come_before_warnings_and_causes_before_what_follows(seen):
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": ["alice"]}
    seen[MX1]["peer"].update(stage="connect", answer="Connection refused")
    change(seen[MX2], "service/replicator/process_min_avail", "0")
    assert ids(findings(seen)) == [(MX1, "peer_unreachable"), (MX1, "users_failing"), (MX2, "no_autostart")]


def test_where_the_configuration_cannot_be_read_nothing_else_is_said(seen):
    seen[MX1] = {"hostname": MX1, "config_problem": "Unknown setting: x"}
    assert ids(findings(seen)) == [(MX1, "configuration_invalid")]


@pytest.mark.parametrize("userdb", [{"users": None, "problem": "static"}, {"users": 0, "problem": None}])
def test_a_userdb_that_need_not_list(seen, userdb):
    seen[MX1]["userdb"].update(userdb, required=False)
    (finding,) = findings(seen)
    assert (finding["id"], finding["severity"]) == ("users_not_listed", "warning")
    assert (userdb["problem"] or "prints nothing") in finding["evidence"]
    seen[MX1]["userdb"]["required"] = True
    assert findings(seen)[0]["severity"] == "error"


def test_one_userdb_that_lists_does_not_excuse_another(seen):
    seen[MX1]["userdb"]["passed_over"] = ["static"]
    assert ids(findings(seen)) == [(MX1, "userdb_cannot_list")]
    seen[MX1]["userdb"]["required"] = False
    assert ids(findings(seen)) == [(MX1, "users_not_listed")]


def field(name, value, users=("frank",), place=None, **replica):
    replica = {"problem": None, "port": 1, "addresses": ["192.0.2.1"], "is_self": False, **replica}
    users = {"count": len(users), "first": list(users)}
    return {"field": name, "value": value, "place": place, "users": users, "replica": replica}


@pytest.mark.parametrize(
    "entry, expected, words",
    [
        (field("mail_replica", "tcp:peer:1"), None, ""),
        (
            field("mail_replica", "tcp:mx1:1", is_self=True),
            "user_replica_elsewhere",
            "of frank: 192.0.2.1 is an address",
        ),
        (
            field("mail_replica", "tcp:mx3:1", addresses=["192.0.2.3"]),
            "user_replica_elsewhere",
            "the peer is tcp:peer:1",
        ),
        (field("mail_replica", "tcp:peer:2", port=2), "user_replica_elsewhere", "the peer is tcp:peer:1"),
        (field("mail_replica", "x", problem="no host"), "user_replica_elsewhere", "no host"),
        (field("mail_plugins", "quota,notify,replication"), None, ""),
        (
            field("mail_plugins", "quota notify"),
            "user_plugins_missing",
            "mail_plugins=quota notify of frank: without rep",
        ),
        (field("mail_plugins", "", place="x line 3"), "user_plugins_missing", "(set in x line 3)"),
        (field("noreplicate", "yes"), "users_left_out", "frank"),
        (field("noreplicate", "no"), None, ""),
        (field("mail", "maildir:/srv/all", ["a", "b"]), "mail_location_shared", "a, b"),
        (field("mail", "mbox:~/mail"), "user_mail_in_mbox", "frank"),
    ],
)
def test_fields_of_users(seen, entry, expected, words):
    """A good value of others hides no bad one."""
    seen[MX1]["fields"] = [field("mail_replica", "tcp:peer:1", ["alice"]), entry]
    found = findings(seen)
    assert ids(found) == ([(MX1, expected)] if expected else [])
    assert all(words in finding["evidence"] for finding in found)


def test_names_that_are_listed_and_not_found(seen):
    account = {"noreplicate": False, "mail_replica": None, "mailboxes": [], "read_problem": None}
    exists = {"": False, "o'neil": False, "alice": True}
    seen[MX1]["accounts"] = [{**account, "username": name, "exists": exists[name], "listed": True} for name in exists]
    seen[MX1]["errors"] = ["auth: o'neil has an invalid character"]
    (finding,) = findings(seen)
    assert finding["id"] == "listed_not_found" and finding["evidence"].startswith(
        "'', o'neil; Dovecot's log says: auth"
    )
    # A name that only the replicator lists was deleted or renamed.
    seen[MX1]["accounts"] = [{**account, "username": "old", "exists": False, "listed": False}]
    assert findings(seen) == []


def test_aliases(seen):
    seen[MX1]["userdb"]["aliases"] = {"count": 1, "first": ["sales (alice)"]}
    assert ids(findings(seen)) == [(MX1, "aliases_listed")]


def test_noreplicate_for_everyone(seen):
    seen[MX1]["fields"] = [field("noreplicate", "y", place="dovecot.conf line 7")]
    seen[MX1]["replicator"]["overview"]["known_users"] = 0
    assert ids(findings(seen)) == [(MX1, "everyone_left_out")]


@pytest.mark.parametrize(
    "name, found", [("quota_rule", "user_quota_differs"), ("namespace/inbox/prefix", "user_namespaces_differ")]
)
def test_a_field_that_differs(seen, name, found):
    for host, value in ((MX1, "one"), (MX2, "another")):
        seen[host]["fields"] = [field(name, value)]
    assert ids(findings(seen)) == [(MX1, found)]


def test_mail_that_cannot_be_read(seen):
    account = {"exists": True, "noreplicate": False, "mail_replica": None, "mailboxes": [], "listed": True}
    problems = {"alice": None, "bob": "mkdir failed", "systemd-network": "not permitted"}
    seen[MX1]["accounts"] = [{**account, "username": name, "read_problem": problems[name]} for name in problems]
    seen[MX1]["userdb"]["without_mail"] = {"count": 1, "first": ["systemd-network"]}
    listed, unreadable = findings(seen)
    assert listed["id"] == "accounts_without_mail" and "systemd-network" in listed["evidence"]
    assert unreadable["id"] == "mail_unreadable" and unreadable["evidence"] == "bob; of bob: mkdir failed"
    assert "replication_first_valid_uid: 1000" in listed["cure"] and "status -u bob" in unreadable["cure"]


def logged(name, text):
    return f"doveadm({name})<3397><XMUCDPe1>: Error: {text}"


# Lines of Dovecot 2.3.19.1.
LARGE = "Mailbox INBOX: Saving failed: Mail size is larger than the maximum size allowed by server configuration"
SHUT = (
    "stat(/srv/vmail/alice/Maildir) failed: Permission denied (euid=5000(vmail) egid=5000(vmail) missing +x perm: "
    "/srv/vmail/alice, dir owned by 0:0 mode=0700)"
)
LOCKED = (
    "dsync(mx2): read() failed: read(/srv/vmail/alice/Maildir/new/1795798548.M5P3521.mx1,S=2013,W=2016) failed: "
    "Private key not available: Cannot decrypt key 17a3: Cannot decrypt key 607e: Password not available"
)
SOCKET = "net_connect_unix(/run/dovecot/replicator-doveadm) failed: Permission denied"


@pytest.mark.parametrize(
    "here, there, reason, syncs",
    [
        ("Remote closed", "write(/srv/vmail/alice/x) failed: No space left on device", "the disk of mx2 is full", True),
        (None, LARGE, "mx2 refuses a mail", True),
        (None, SHUT, "may not read or write a file on mx2", True),
        ("Couldn't find namespace for mailbox Extra", None, "mx1 has no namespace for a mailbox", True),
        (LOCKED, "dsync(mx1): read() failed: dot-input stream ends", "opens the mail on mx1", False),
        (None, "Panic: file mbox-lock.c: line 796 (mbox_lock): assertion failed", "Dovecot panics on mx2", False),
        ("Remote closed", SOCKET, "last errors, mx2: ", True),
        (None, None, "no error of them in the logs of mx1 and mx2", True),
    ],
)
def test_why_users_fail(seen, here, there, reason, syncs):
    seen[MX1]["replicator"]["failing"] = {"count": 25, "first": ["alice"]}
    for host, text in ((MX1, here), (MX2, there)):
        seen[host]["errors"] = [logged("malice", LARGE)] + ([logged("alice", text)] if text else [])
    finding = next(finding for finding in findings(seen) if finding["id"] == "users_failing")
    assert finding["evidence"].startswith("25 of 4: alice") and reason in finding["evidence"]
    assert ("resync" in finding["cure"]) is syncs


def test_users_fail_for_several_reasons(seen):
    seen[MX1]["replicator"]["failing"] = {"count": 2, "first": ["alice", "bob"]}
    seen[MX2]["errors"] = [logged("alice", LARGE), logged("bob", SHUT)]
    found = [finding["evidence"] for finding in findings(seen) if finding["id"] == "users_failing"]
    assert [text.partition(";")[0] for text in found] == ["1 of 4: alice", "1 of 4: bob"]


def test_what_is_said_of_a_log_that_nobody_has_read(seen):
    del seen[MX2]
    seen[MX1]["replicator"]["failing"] = {"count": 1, "first": ["alice"]}
    (finding,) = findings(seen)
    assert finding["evidence"].endswith("no error of them in the log of mx1; that of its peer was not read")


def namespace(prefix, separator="", kind="private"):
    return {"type": kind, "prefix": prefix, "separator": separator, "inbox": prefix in ("", "INBOX.", "INBOX/")}


@pytest.mark.parametrize(
    "here, there, hosts",
    [
        ([namespace("INBOX.", ".")], [namespace("INBOX/", "/")], []),
        ([namespace("INBOX.", ".")], [namespace("")], [MX1, MX2]),
        ([namespace(""), namespace("Old/")], [namespace("")], [MX2]),
        ([namespace(""), namespace("Public/", kind="public")], [namespace("")], []),
    ],
)
def test_namespaces_that_do_not_fit(seen, here, there, hosts):
    for host, found in ((MX1, here), (MX2, there)):
        seen[host]["settings"]["namespaces"] = found
    assert ids(findings(seen)) == [(host, "namespaces_differ") for host in hosts]


@pytest.mark.parametrize("version, warned", [("2.3.19.1 (9b53)", True), ("2.3.13 (a)", False), ("2.3.21.1 (b)", False)])
def test_a_prefix_of_the_inbox(seen, version, warned):
    for host in (MX1, MX2):
        seen[host]["settings"]["namespaces"] = [namespace("INBOX.", ".")]
    seen[MX1]["dovecot_version"] = version
    assert ids(findings(seen)) == ([(MX1, "inbox_prefix")] if warned else [])


def test_mailboxes_made_twice_are_one_finding_for_all_users(seen):
    account = {"exists": True, "noreplicate": False, "mail_replica": None, "read_problem": None, "listed": True}
    names = ["alice", "bob"]
    for host, guid in ((MX1, "a"), (MX2, "b")):
        mailboxes = [{"name": "INBOX", "guid": guid, "messages": 5}, {"name": "Same", "guid": "c", "messages": 1}]
        seen[host]["accounts"] = [{**account, "username": name, "mailboxes": mailboxes} for name in names]
    assert findings(copy.deepcopy(seen)) == []
    # One host alone may have noticed.
    seen[MX2]["replicator"]["failing"] = {"count": 2, "first": names}
    first, second = findings(seen)
    assert [first["id"], second["id"]] == ["mailbox_made_twice", "users_failing"]
    assert "alice, bob" in first["evidence"] and "Same" not in first["evidence"]
    assert "`ansible-playbook mailops.dovecot_replication.adopt`" in first["cure"]


def test_ids_are_unique():
    names = [item.id for item in RULES + PAIR_RULES]
    assert len(names) == len(set(names)) > 40


def test_a_pair_without_replicators():
    """None of the rules about a replicator is for it."""
    assert findings({MX1: timed(MX1), MX2: timed(MX2)}) == []
    announced = {"from": MX1, "to": MX2, "sent": True, "announced": False, "arrived": True, "message": ""}
    assert findings({MX1: timed(MX1), MX2: timed(MX2)}, {"probes": [announced]}) == []
    assert ids(findings({MX1: healthy(MX1), MX2: timed(MX2)}, {"probes": [{**announced, "from": MX1}]})) == [
        (MX1, "parameters_of_2_3"),
        (MX1, "probe_not_announced"),
    ]


@pytest.mark.parametrize(
    "name, change_it",
    [
        ("timer_stopped", {"active": False}),
        ("timer_not_enabled", {"enabled": False}),
        ("rounds_overdue", {"round_age": 241}),
        ("round_failed", {"round_problem": "Connection refused"}),
        ("on_hold", {"on_hold": True, "round_age": 9999}),
    ],
)
def test_what_a_timer_is_found_to_be(name, change_it):
    seen = timed(MX1)
    seen["syncer"].update(change_it)
    assert ids(findings({MX1: seen})) == [(MX1, name)]


@pytest.mark.parametrize(
    "name, change_it",
    [
        ("service_stopped", {"active": False}),
        ("service_not_enabled", {"enabled": False}),
        ("changes_not_told", {"deaf": True}),
        ("round_failed", {"round_problem": "Connection refused"}),
        ("on_hold", {"on_hold": True, "round_age": 9999}),
    ],
)
def test_what_a_service_is_found_to_be(name, change_it):
    seen = dict(timed(MX1), engine="service")
    assert findings({MX1: seen}) == []
    seen["syncer"].update(change_it)
    assert ids(findings({MX1: seen})) == [(MX1, name)]


def test_a_long_round_is_not_overdue():
    seen = timed(MX1)
    seen["syncer"].update(round_age=9999, running=True)
    seen["replicator"]["summary"]["never_synced"] = 3
    assert findings({MX1: seen}) == []
    seen["syncer"].update(round_age=30, running=False)
    assert ids(findings({MX1: seen})) == [(MX1, "users_never_synced")]


def test_what_2_3_has_left():
    seen = timed(MX1)
    seen["settings"]["leftovers"] = [
        {"setting": "service/replicator/process_min_avail", "place": "a.conf line 2"},
        {"setting": "mail_plugins/replication", "place": "b.conf line 3"},
    ]
    found = findings({MX1: seen})
    assert [finding["id"] for finding in found] == ["plugin_of_2_3", "leftovers_of_2_3"]
    seen["settings"]["mail_plugins"] = [scope("doveadm", {"plugin": "replication", "place": "b.conf line 3"})]
    assert findings({MX1: seen}) == found
    # It explains why its doveadm does not answer the peer.
    other = timed(MX2)
    other["peer"].update(stage="greeting", answer="it closed the connection")
    assert findings({MX1: seen, MX2: other}) == found
    assert found[0]["cure"].startswith("Remove b.conf line 3, then")


def test_a_plugin_that_is_not_installed(seen):
    """It is named once for all sections, and explains why the peer's doveadm does not answer."""
    missing = {"plugin": "fts_xapian", "place": "10-mail.conf line 9"}
    seen[MX2]["settings"]["mail_plugins"] = [scope(None, missing), scope("doveadm", missing)]
    seen[MX1]["peer"].update(stage="greeting", answer="it closed the connection")
    (finding,) = findings(seen)
    assert (finding["host"], finding["id"]) == (MX2, "plugin_not_installed")
    assert finding["evidence"] == "mail_plugins names it outside of sections, inside protocol doveadm"
    assert "out of 10-mail.conf line 9, then run `systemctl restart dovecot`" in finding["cure"]
    # IMAP alone has it: then the peer's doveadm has another reason.
    seen[MX2]["settings"]["mail_plugins"] = [scope("imap", missing)]
    assert ids(findings(seen)) == [(MX1, "peer_is_not_doveadm"), (MX2, "plugin_of_protocol_not_installed")]


def test_a_failing_user_of_a_timer_has_its_reason():
    """The log need not be searched: the database has what doveadm has said."""
    seen = timed(MX1)
    seen["replicator"]["failing"] = {"count": 1, "first": ["a@x"]}
    seen["syncer"]["problems"] = [
        {"username": "a@x", "status": 75, "problem": "write() failed: No space left on device"}
    ]
    (found,) = findings({MX1: seen})
    assert found["id"] == "users_failing" and "the disk of mx1 is full" in found["evidence"]


def test_a_host_that_is_prepared_for_2_4(seen):
    change(seen[MX1], "replication_dsync_parameters", "-d -N -l 30", "11-replication.conf line 5")
    assert ids(findings(seen)) == [(MX1, "prepared_for_2_4")]
    # Somebody else's line is the old finding.
    change(seen[MX1], "replication_dsync_parameters", "-d -N -l 30", "local.conf line 5")
    assert ids(findings(seen)) == [(MX1, "peer_not_told")]
    # And with such a peer all is well.
    assert findings({MX1: seen[MX1], MX2: timed(MX2)}) == []


def test_formats_of_mail_that_differ():
    here, there = timed(MX1), timed(MX2)
    there["settings"]["storage"] = "sdbox"
    assert ids(findings({MX1: here, MX2: there})) == [(MX2, "storage_differs")]
    here["settings"]["storage"] = ""
    assert findings({MX1: here, MX2: there}) == []
