# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each playbook hands over and shows, from what its tasks have registered."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _result as model

ONE, OTHER = "mx1.example.org", "mx2.example.org"
VERIFY = "`ansible-playbook mailops.dovecot_replication.verify`"
FAILED = {"__replication_outcome": {"failed": True, "msg": "It is down."}}
OVERVIEW = {
    **{"known_users": 4, "queued_sync": 1, "queued_high": 2, "queued_low": 3, "queued_failed": 0},
    **{"queued_full_resync": 4, "waiting_failed": 0},
}
WARNING = {"id": "w", "severity": "warning", "host": ONE, "summary": "s", "evidence": "e", "cure": "c"}


def run(playbook, one=None, other=None, active=(ONE, OTHER), **about):
    """A play on two hosts, of which both have left these variables."""
    facts = {ONE: model.facts_of(one or {}), OTHER: model.facts_of((one if other is None else other) or {})}
    about = {"check_mode": False, "pairs": {ONE: [ONE, OTHER], OTHER: [ONE, OTHER]}, **about}
    return model.Run(playbook=playbook, facts=facts, active=active, **about)


def message_of(*arguments, **about):
    return model.ended(run(*arguments, **about))["message"]


def config(changed=False, *paths):
    return {"__replication_config": {"changed": changed, "files": [{"path": path} for path in paths]}}


def answer(failing=0, names=()):
    """What `status` registers of a host."""
    users = [{"username": name, "failed": True, **AGES, "running": False, "priority": "none"} for name in names]
    summary = {**SUMMARY, "failing": failing}
    read = {"overview": OVERVIEW, "summary": summary, "dovecot_version": "2.3.19", "users": users}
    return {"__replication_status": read}


SUMMARY = {"known_users": 4, "queued": 6, "running": 1, "failing": 0, "on_hold": False}
AGES = {"fast_sync_age": 60, "successful_sync_age": None}


UNKNOWN = {
    "setup": {"dovecot_version", "changed", "findings"},
    "verify": {"dovecot_version", "known_users", "failing", "summary", "findings"},
    "status": {"dovecot_version", "overview", "summary", "running", "failing"},
    "resync": {"elapsed"},
    "drain": {"changed", "known_users", "queued_users"},
    "decommission": {"changed"},
    "adopt": {"users", "adopted_mailboxes", "messages_before", "messages_after"},
    "monitor": {"state", "problem"},
    "upgrade_prepare": {"dovecot_version", "changed", "findings", "users"},
}


@pytest.mark.parametrize("playbook", model.PLAYBOOKS)
def test_a_host_of_which_nothing_is_known(playbook):
    """Each key is there all the same, and counts that nobody knows are null."""
    result = model.ended(run(playbook, FAILED))
    whole = model.ended(run(playbook, {**FAILED, **answer(), "__replication_queue": {"overview": OVERVIEW}}))
    assert set(result["hosts"][ONE]) == set(whole["hosts"][ONE])
    assert (result["ok"], result["hosts"][ONE]["message"]) == (False, "It is down.")
    assert {key for key, value in result["hosts"][ONE].items() if value is None} == UNKNOWN[playbook]


@pytest.mark.parametrize("playbook", model.PLAYBOOKS)
def test_a_host_that_was_not_reached(playbook):
    result = model.ended(run(playbook, config(), active=[ONE]))
    assert result["hosts"][OTHER] == {"ok": False, "message": model.NO_RESULT}
    assert result["hosts"][ONE]["ok"] and not result["ok"]
    begun = model.begun(run(playbook, config()))
    assert begun["hosts"] == dict.fromkeys([ONE, OTHER], {"ok": False, "message": model.NO_RESULT})
    assert begun["message"].startswith(f"2 of 2 hosts need a person. {ONE}: No result: ")


@pytest.mark.parametrize("playbook, needs_ssh", [("status", False), ("resync", False), ("setup", True)])
def test_a_playbook_that_needs_ssh_says_so_where_there_is_an_api(playbook, needs_ssh):
    message = model.begun(run(playbook, api=True))["hosts"][ONE]["message"]
    assert message.endswith(" This playbook does not go by replication_api_url, it needs ssh.") is needs_ssh


@pytest.mark.parametrize(
    "playbook, ends",
    [
        ("setup", "It is down."),
        ("verify", "It is down."),
        ("decommission", "It is down."),
        ("status", f"It is down. Next: {VERIFY}, which names causes and cures."),
        ("resync", f"It is down. Next: {VERIFY}, which names causes and cures."),
        ("drain", f"It is down. Next: {VERIFY}, which names causes and cures."),
        ("adopt", f"It is down. Next: {VERIFY}, which names causes and cures."),
    ],
)
def test_who_needs_a_person(playbook, ends):
    assert message_of(playbook, FAILED, config()) == f"1 of 2 hosts needs a person. {ONE}: {ends}"
    assert message_of(playbook, FAILED, config(), check_mode=True).startswith("In check mode: 1 of 2 hosts needs")


def test_a_failure_leaves_what_is_known():
    """A host that failed is none of the active ones, and yet it was reached."""
    result = model.ended(run("setup", {**FAILED, **config(True, "/a")}, config(), active=[OTHER]))
    assert result["hosts"][ONE]["changed_files"] == ["/a"] and result["hosts"][OTHER]["changed"] is False


def test_the_message_names_three_hosts_in_one_line():
    failed = {f"mx{number}": model.facts_of(FAILED) for number in range(5)}
    message = model.ended(model.Run(playbook="setup", check_mode=False, facts=failed))["message"]
    assert message == "5 of 5 hosts need a person. mx0: It is down. mx1: It is down. mx2: It is down."


def test_a_long_message_is_cut_between_words():
    told = {"__replication_outcome": {"failed": True, "msg": "\n".join(["word"] * 200)}}
    message = message_of("setup", told, config())
    assert message.endswith(" word word...") and len(message.partition(f"{ONE}: ")[2]) <= 500
    assert message_of("setup", {"__replication_outcome": {"failed": True, "msg": "x" * 500}}, {}).endswith("x" * 500)


@pytest.mark.parametrize(
    "failed, told",
    [
        ({"msg": "No."}, "No."),
        ({}, "Stopped, as another host failed."),
        ({"msg": ""}, "Stopped, as another host failed."),
        (
            {
                "msg": "One or more items failed",
                "results": [
                    {"msg": "One.", "failed": True},
                    {"msg": "Fine."},
                    {"msg": "Two.", "failed": True},
                    {"msg": "One.", "failed": True},
                ],
            },
            "One. Two.",
        ),
        ({"msg": "There is no list.", "results": []}, "There is no list."),
    ],
)
def test_why_a_task_has_failed(failed, told):
    assert model.failure(failed) == told


@pytest.mark.parametrize(
    "failing, fail_on, told",
    [
        (3, "error", "The syncs of 3 of 4 users fail, such as a, b, c."),
        (1, "warning", "The syncs of 1 of 4 users fail, such as a, b, c."),
        (3, "nothing", ""),
        (0, "error", ""),
    ],
)
def test_users_whose_syncs_fail(failing, fail_on, told):
    status = answer(failing, "abcd")["__replication_status"]
    assert model.failing_message(status, fail_on) == told


@pytest.mark.parametrize(
    "one, other, about, message",
    [
        (config(), None, {}, f"2 hosts, of which 0 were changed. Next: {VERIFY}, which proves that mail arrives."),
        (
            config(True),
            config(),
            {"check_mode": True},
            f"In check mode: 2 hosts, of which 1 would be changed. Next: {VERIFY}, which proves that mail arrives.",
        ),
        (
            config(True),
            None,
            {"absent": True},
            "2 hosts, of which 2 were changed. They no longer replicate, and the mail stays.",
        ),
        (
            {**config(), "replication_findings": [], "__replication_conclusion": {"compared": 3}},
            {**config(), "replication_findings": []},
            {},
            "2 hosts, of which 0 were changed. No errors, no warnings. "
            "Users of each pair have the same mail on both hosts.",
        ),
    ],
)
def test_setup(one, other, about, message):
    assert message_of("setup", one, other, **about) == message


def test_what_setup_knows():
    facts = {**config(True, "/a", "/b"), "__replication_decision": {"observed": {"dovecot_version": "2.3.19"}}}
    assert model.ended(run("setup", facts))["hosts"][ONE] == {
        "dovecot_version": "2.3.19",
        "changed": True,
        "changed_files": ["/a", "/b"],
        "findings": None,
        "compared_users": 0,
        "ok": True,
        "message": "",
    }


def test_what_verify_knows():
    """One host of a pair proves for both, and a finding belongs to one of them."""
    both = {
        "replication_findings": [WARNING],
        "__replication_seen": {
            "dovecot_version": "2.3.19",
            "replicator": {"overview": {"known_users": 4}, "failing": {"count": 1, "first": ["a"]}, "summary": SUMMARY},
        },
    }
    hosts = model.ended(run("verify", {**both, "__replication_conclusion": {"compared": 3}}, both))["hosts"]
    assert hosts[ONE] == {
        "dovecot_version": "2.3.19",
        "pair": [ONE, OTHER],
        "known_users": 4,
        "failing": 1,
        "failing_users": ["a"],
        "summary": SUMMARY,
        "findings": [WARNING],
        "compared_users": 3,
        "ok": True,
        "message": "",
    }
    assert (hosts[OTHER]["findings"], hosts[OTHER]["compared_users"]) == ([], 3)


@pytest.mark.parametrize(
    "findings, compared, pair, message",
    [
        ([], 3, [ONE, OTHER], "No errors, no warnings. Users of each pair have the same mail on both hosts."),
        ([WARNING], 0, [ONE, OTHER], "No errors, 1 warning. No proof was tried."),
        (
            [WARNING, {**WARNING, "host": OTHER, "severity": "error"}, {**WARNING, "host": OTHER}],
            2,
            [],
            "1 error, 2 warnings. Not every pair was proved.",
        ),
    ],
)
def test_verify(findings, compared, pair, message):
    one = {"replication_findings": findings, "__replication_conclusion": {"compared": compared}}
    other = {"replication_findings": findings}
    assert message_of("verify", one, other, pairs=dict.fromkeys(pair, pair)) == message


def test_status():
    result = model.ended(run("status", answer()))
    assert (
        result["message"] == f"2 hosts with 8 users, of which 0 fail. Next: {VERIFY}, which proves that mail arrives."
    )
    assert result["hosts"][ONE] == {
        "dovecot_version": "2.3.19",
        "overview": OVERVIEW,
        "summary": SUMMARY,
        "running": 1,
        "failing": 0,
        "failing_users": [],
        "ok": True,
        "message": "",
    }
    many = [f"user{number}" for number in range(30)]
    failing = model.ended(run("status", answer(30, many)))["hosts"][ONE]
    assert (failing["failing"], failing["failing_users"]) == (30, many[:20])


def test_the_table_of_status():
    facts = answer(1, ["a"])
    asked = [
        {"username": "a", "failed": True, "running": False, "priority": "none", **AGES},
        {"username": "b", "failed": False, "running": True, "priority": "none", **AGES},
        {"username": "c", "failed": False, "running": False, "priority": "high", **AGES},
        {"username": "d", "failed": False, "running": False, "priority": "none", **AGES},
    ]
    facts["__replication_status"]["asked_users"] = asked
    assert [line.split() for line in model.report(run("status", facts, {}))] == [
        ["HOST", "USERS", "QUEUED", "RUNNING", "FAILED", "DOVECOT"],
        [ONE, "4", "10", "1", "1", "2.3.19"],
        [OTHER, "-", "-", "-", "-", "no", "answer"],
        ["USER", "ON", "LAST", "SYNC", "LAST", "SUCCESS", "STATE"],
        ["a", ONE, "60", "s", "ago", "never", "failed"],
        ["b", ONE, "60", "s", "ago", "never", "running"],
        ["c", ONE, "60", "s", "ago", "never", "queued", "high"],
        ["d", ONE, "60", "s", "ago", "never", "idle"],
        f"Next: {VERIFY}, which names causes and cures.".split(),
    ]
    fine = model.report(run("status", answer()))
    assert len(fine) == 4 and fine[-1] == f"Nothing fails. {VERIFY} proves that mail arrives."
    assert model.report(run("status", answer(), {}))[-1].startswith("Next: ")
    held = answer()
    held["__replication_status"]["summary"]["on_hold"] = True
    assert model.report(run("status", held, answer()))[3].startswith(f"{ONE} is on hold")


@pytest.mark.parametrize(
    "seconds, told",
    [
        (None, "never"),
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7199, "119 min ago"),
        (7200, "2 h ago"),
        (172799, "47 h ago"),
        (172800, "2 days ago"),
    ],
)
def test_ago(seconds, told):
    assert model.ago(seconds) == told


def resync(**answer):
    return {"__replication_resync": answer}


def test_resync():
    names = [f"user{number}" for number in range(30)]
    one = resync(
        requested=[*names, "a"], synced_users=["a"], failed_users=names, dropped_users=[], pending_users=[], elapsed=2.5
    )
    result = model.ended(run("resync", one))
    assert result["message"] == f"62 syncs have succeeded on 2 hosts. Next: {VERIFY}."
    assert result["hosts"][ONE] == {
        **{"requested": 31, "synced": 1, "failed": 30, "dropped": 0, "pending": 0, "elapsed": 2.5},
        **{"failed_users": names[:20], "dropped_users": [], "pending_users": [], "ok": True, "message": ""},
    }
    checked = message_of("resync", resync(requested=["a"]), check_mode=True)
    assert checked == f"In check mode: 2 syncs would be asked for on 2 hosts. Next: {VERIFY}."


def test_who_is_gone_is_left_out_of_a_resync():
    gone = [{"username": name, "reason": "not in the userdb"} for name in ("old", "older")]
    done = resync(requested=["a"], synced_users=["a"], elapsed=2.4, skipped_users=gone)
    (line, *dummy) = model.report(run("resync", done))
    assert line.endswith("2 s. old, older are not in the userdb any more, deleted or renamed, and were left out.")


def test_the_report_of_resync():
    done = resync(requested=["a", "b"], synced_users=["a", "b"], elapsed=2.4)
    assert model.report(run("resync", done)) == [
        f"{ONE}: 2 of 2 users synced in 2 s.",
        f"{OTHER}: 2 of 2 users synced in 2 s.",
        f"Next: {VERIFY}.",
    ]
    assert model.report(run("resync", resync(requested=["a"]), {}, check_mode=True)) == [
        f"{ONE}: would have 1 users synced.",
        f"{OTHER}: no answer.",
        f"Next: {VERIFY}.",
    ]
    failed = model.report(run("resync", done, resync(msg="1 failed: a", requested=["a"])))
    assert failed[1:] == [f"{OTHER}: 1 failed: a", f"Next: {VERIFY}, which names causes and cures."]


def drained(changed=True):
    return {"__replication_queue": {"overview": OVERVIEW}, "__replication_hold_config": {"changed": changed}}


RELEASE = "Next: the maintenance, then `ansible-playbook mailops.dovecot_replication.drain -e replication_hold=false`."


@pytest.mark.parametrize(
    "about, message",
    [
        ({}, f"2 hosts now on hold. {RELEASE}"),
        ({"check_mode": True}, f"In check mode: 2 hosts would be on hold. {RELEASE}"),
        ({"hold": False}, f"2 hosts now released. Next: {VERIFY}."),
        ({"hold": False, "check_mode": True}, f"In check mode: 2 hosts would be released. Next: {VERIFY}."),
    ],
)
def test_drain(about, message):
    result = model.ended(run("drain", drained(), **about))
    assert result["message"] == message
    assert result["hosts"][ONE] == {
        "hold": about.get("hold", True),
        "changed": True,
        "known_users": 4,
        "queued_users": 6,
        "ok": True,
        "message": "",
    }


@pytest.mark.parametrize(
    "changed, about, told",
    [
        (True, {"check_mode": True}, "would be put on hold; 6 of 4 users are queued."),
        (True, {"check_mode": True, "hold": False}, "would be released; 6 of 4 users are queued."),
        (False, {"check_mode": True}, "on hold; 6 of 4 users have changes that wait for the release."),
        (True, {}, "on hold; 6 of 4 users have changes that wait for the release."),
        (True, {"hold": False}, "released; all 4 users are synced."),
    ],
)
def test_the_report_of_drain(changed, about, told):
    lines = model.report(run("drain", drained(changed), FAILED, **about))
    state = "on hold" if about.get("hold", True) else "released"
    assert lines[:2] == [f"{ONE}: {told}", f"{OTHER}: not {state}. It is down."]
    assert lines[2] == (RELEASE if about.get("hold", True) else f"Next: {VERIFY}.")


def test_decommission():
    facts = config(True, "/a")
    result = model.ended(run("decommission", facts))
    assert result["message"] == (
        "Replication is taken down on 2 hosts, and the mail stays. "
        "Next: send clients and new mail to one host only, as the two differ from now on."
    )
    assert result["hosts"][ONE] == {"changed": True, "changed_files": ["/a"], "ok": True, "message": ""}
    assert message_of("decommission", facts, check_mode=True).startswith(
        "In check mode: Replication would be taken down on 2 hosts, and"
    )


def test_the_report_of_decommission():
    assert model.report(run("decommission", config(True), FAILED, active=[ONE])) == [
        f"{ONE}: replication is taken down, and the mail stays.",
        f"{OTHER}: nothing was finished here. It is down.",
        "Next: send clients and new mail to one host only, as the two differ from now on.",
    ]
    assert model.report(run("decommission", FAILED, active=[])) == [
        f"{host}: nothing was finished here. It is down." for host in (ONE, OTHER)
    ]


WATCHED = "Next: what to do with metrics, checks and mails is in docs/howto/monitor.md."


@pytest.mark.parametrize(
    "about, message, told",
    [
        ({}, f"2 hosts now watched. {WATCHED}", "watched; the first look says ok."),
        ({"check_mode": True}, f"In check mode: 2 hosts would be watched. {WATCHED}", "would be watched."),
        ({"absent": True}, "2 hosts no longer watched.", "no longer watched."),
        (
            {"absent": True, "check_mode": True},
            "In check mode: 2 hosts would no longer be watched.",
            "would no longer be watched.",
        ),
    ],
)
def test_monitor(about, message, told):
    answered = {"__monitoring_answer": {"stdout": '{"state": "ok", "problem": null}'}}
    result = model.ended(run("monitor", answered, **about))
    assert result["message"] == message
    assert result["hosts"][ONE] == {"state": "ok", "problem": None, "ok": True, "message": ""}
    assert model.report(run("monitor", answered, FAILED, **about)) == [f"{ONE}: {told}", f"{OTHER}: It is down."]


def test_a_collector_that_does_not_answer_as_it_should():
    for printed in "nonsense", "[]", "":
        answered = {"__monitoring_answer": {"stdout": printed}}
        assert model.ended(run("monitor", answered))["hosts"][ONE]["state"] is None
        assert model.report(run("monitor", answered))[0] == f"{ONE}: watched; the first look says nothing."


def plan(result, of="setup"):
    host = {"result": result, "changes": [{}, {}], "counts": {"files": 2}, "message": "would change: 2 files"}
    return {"of": of, "result": result, "message": "M.", "counts": {"changes": 2}, "hosts": {ONE: host}, "digest": "d"}


@pytest.mark.parametrize("result, ok", [("changes", True), ("no changes", True), ("incomplete", False)])
def test_what_plan_hands_over(result, ok):
    assert model.planned(plan(result)) == {
        **{"playbook": "plan", "ok": ok, "message": "M.", "result": result, "changes": 2},
        "hosts": {
            ONE: {
                **{"ok": ok, "result": result, "changes": 2, "counts": {"files": 2}},
                "message": "would change: 2 files",
            }
        },
    }


APPLY = (
    "Next: have plan.md reviewed, then `ansible-playbook mailops.dovecot_replication.apply -e replication_plan_file="
)


@pytest.mark.parametrize(
    "result, of, last",
    [
        ("changes", "setup", f"{APPLY}/x/plan.json`."),
        ("changes", "decommission", f"{APPLY}/x/plan.json -e replication_plan_of=decommission`."),
        ("no changes", "setup", "Nothing needs to be done."),
        ("incomplete", "setup", "Next: repair what is named, and plan again. An incomplete plan cannot be applied."),
    ],
)
def test_what_plan_shows(result, of, last):
    assert model.plan_report(plan(result, of), ["/x/plan.md", "/x/plan.json"]) == [
        "M.",
        f"{ONE}: would change: 2 files",
        "Written to /x/plan.md and /x/plan.json.",
        last,
    ]


def test_a_refusal():
    assert model.refused("It moved.") == {"playbook": "apply", "ok": False, "message": "It moved.", "hosts": {}}
