# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `verify` decides: who proves, whether, what is done next, and how it is reported."""

import json

import pytest
from observations import MX1, MX2, change, healthy

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _verification as model

ALICE, BOB, PROBE = "alice", "bob", "probe"
PAIR = (MX1, MX2)
LISTS_NOBODY = {**healthy(MX1)["userdb"], "users": 0}
HOLD = "replication-hold.conf.ext line 3"


def seen(name, **more):
    return {**healthy(name), "sample": [ALICE, BOB], **more}


def view(name=MX1, batch=PAIR, observed=PAIR, previewing=False, **of_mx1):
    observations = {host: seen(host, **(of_mx1 if host == MX1 else {})) for host in observed}
    return model.View(name, list(PAIR), list(batch), observations, previewing)


def on_hold(**options):
    held = view(**options)
    change(held.observations[MX1], "replication_max_conns", "0", HOLD)
    return held


def failing():
    return view(userdb=LISTS_NOBODY)


def with_a_failed_user(**options):
    given = view(**options)
    given.observations[MX2]["replicator"]["failing"] = {"count": 1, "first": [BOB]}
    return given


def begun(probe_user=""):
    return model.begun(view(), probe_user, "token")


def replies(*messages):
    return [{"item": host, **({"msg": text} if text else {})} for host, text in zip(PAIR, messages)]


def row(name, fingerprint):
    return {"username": name, "fingerprint": fingerprint, "messages": 1, "doubled": 0, "bytes": 1, "problem": None}


def fingerprints(here, there):
    sides = zip(PAIR, (here, there))
    return [{"item": host, "users": [row(name, text) for name, text in side.items()]} for host, side in sides]


UNREACHABLE = {**healthy(MX1)["peer"], "stage": "connect", "answer": "Connection refused"}


def test_the_metrics_of_a_run():
    """Each finding that there can be, 0 or 1, also where nothing could be proved; none of a preview."""
    there = view(metrics_dir="/metrics", peer=UNREACHABLE)
    probe = {"from": MX1, "to": MX2, "sent": True, "announced": True, "arrived": True, "message": "", "seconds": 0.25}
    conclusion = model.concluded(there, model.Proof(probes=[probe]), "error", 1795984107)
    assert conclusion.metrics_file == "/metrics/dovecot_replication.prom"
    lines = conclusion.metrics.splitlines()
    assert 'dovecot_replication_finding{id="peer_unreachable",severity="error"} 1' in lines
    assert 'dovecot_replication_finding{id="peer_silent",severity="error"} 0' in lines
    # Of an earlier run, as nothing is tried where the peer cannot be reached.
    assert "probe_seconds" not in conclusion.metrics
    assert "dovecot_replication_verified_timestamp_seconds 1795984107" in lines
    assert "dovecot_replicator_userdb_users 4" in lines
    assert model.concluded(there._replace(previewing=True), model.Proof(), "error").metrics_file == ""


def test_the_metrics_of_a_probe():
    ways = [(MX1, MX2, 0.25), (MX2, MX1, None)]
    probes = [
        {
            "from": here,
            "to": there,
            "sent": True,
            "announced": seconds is not None,
            "arrived": True,
            "message": "",
            "seconds": seconds,
        }
        for here, there, seconds in ways
    ]
    text = model.concluded(view(metrics_dir="/metrics"), model.Proof(probes=probes), "error").metrics
    assert 'dovecot_replication_probe_seconds{direction="to_peer"} 0.25' in text and "from_peer" not in text


@pytest.mark.parametrize(
    "setting_up, success, severity", [(True, None, "warning"), (True, 5, "error"), (False, None, "error")]
)
def test_a_host_that_is_set_up_first(setting_up, success, severity):
    """It is not red for the other one, which has not had its turn; one that has synced before is."""
    first = view(observed=[MX1], batch=[MX1], peer=UNREACHABLE)._replace(setting_up=setting_up)
    first.observations[MX1]["replicator"]["summary"]["newest_success_age"] = success
    first.observations[MX1]["replicator"]["failing"] = {"count": 1, "first": [ALICE]}
    ended = model.concluded(first, model.Proof(), "error")
    (finding,) = [item for item in ended.findings if item["id"] in ("peer_comes_later", "peer_unreachable")]
    assert finding["severity"] == severity and bool(ended.failure) == (severity == "error")
    if severity == "warning":
        assert [item["id"] for item in ended.findings] == ["peer_comes_later"] and f"--limit {MX2}" in finding["cure"]
        assert "No proof was tried, because only one host of the pair was observed." in ended.report


def test_mail_that_cannot_be_read_is_not_the_same():
    """Neither is it different: nobody knows."""
    results = fingerprints({ALICE: "1", BOB: "2"}, {ALICE: "1", BOB: "2"})
    results[0]["users"][1].update(fingerprint=None, problem="Permission denied")
    proof = model.compared(begun(), results)
    assert (proof.compared, proof.to_compare, proof.differing) == (1, [], [])
    conclusion = model.concluded(view(), proof, "error")
    assert [(item["host"], item["id"]) for item in conclusion.findings] == [(MX1, "mail_not_compared")]
    assert conclusion.failure != "" and "Permission denied" in conclusion.findings[0]["evidence"]


@pytest.mark.parametrize("name, members, pair", [(MX2, PAIR, [MX1, MX2]), ("mx3", PAIR, ["mx3"]), (MX1, [], [MX1])])
def test_a_host_outside_the_group_is_a_pair_of_its_own(name, members, pair):
    assert model.pair_of(name, members) == pair


@pytest.mark.parametrize(
    "given, verifier, proves",
    [
        (view(), MX1, True),
        (view(name=MX2), MX1, False),
        # The peer had its turn before: with serial, this host is alone in its batch.
        (view(name=MX2, batch=[MX2]), MX2, True),
        (view(name=MX2, batch=[MX2], observed=[MX2]), MX2, False),
        (view(previewing=True), MX1, False),
        (on_hold(), MX1, False),
        (failing(), MX1, False),
    ],
)
def test_who_proves(given, verifier, proves):
    record = model.observed(given)
    assert (record.verifier, record.proves) == (verifier, proves)
    assert record.observation["hostname"] == given.name


@pytest.mark.parametrize(
    "given, users",
    [
        (view(), {}),
        (with_a_failed_user(), {MX2: [BOB]}),
        (with_a_failed_user(name=MX2, batch=[MX2]), {MX2: [BOB]}),
        (with_a_failed_user(previewing=True), {}),
        # An error that a sync does not cure.
        (
            with_a_failed_user(userdb=LISTS_NOBODY),
            {},
        ),
        (with_a_failed_user(name=MX2, batch=[MX2], observed=[MX2]), {}),
    ],
)
def test_whom_it_syncs_again(given, users):
    record = model.observed(given)
    assert record.failing == users and record.proves is (not users and model.begun(given, "", "token").users != [])


@pytest.mark.parametrize(
    "given, reason",
    [(view(), None), (view(observed=[MX1]), "only one host"), (on_hold(), "on hold"), (failing(), "")],
)
def test_why_nothing_can_be_proved(given, reason):
    assert model.obstacle(given) == reason if not reason else reason in model.obstacle(given)


def test_users_whom_only_the_peer_has_looked_up():
    accounts = [{"username": name} for name in (ALICE, BOB)]
    own, other = seen(MX1, accounts=accounts[:1]), seen(MX2, accounts=accounts)
    assert model.unseen_accounts(own, [other]) == [BOB]
    assert model.unseen_accounts(other, [own]) == [] and model.unseen_accounts(own, []) == []


@pytest.mark.parametrize(
    "given, probe_user, users",
    [
        (view(), "", [ALICE, BOB]),
        (view(), PROBE, [ALICE, BOB, PROBE]),
        (view(), BOB, [ALICE, BOB]),
        (view(sample=[]), "", []),
        # The last look at the peer has found an error.
        (failing(), PROBE, []),
    ],
)
def test_whom_it_syncs(given, probe_user, users):
    proof = model.begun(given, probe_user, "token")
    assert proof.users == users and (not users or proof.hosts == list(PAIR))


def test_after_the_syncs_come_the_probes_and_the_comparison():
    proof = model.synced(begun(PROBE), replies("", ""))
    assert proof.ways == [[MX1, MX2], [MX2, MX1]] and proof.to_compare == [ALICE, BOB, PROBE]
    assert model.synced(begun(), replies("", "")).ways == []


def test_failed_syncs_end_the_proof():
    proof = model.synced(begun(PROBE), replies("", "0 of 2 synced"))
    assert (proof.ways, proof.to_compare, proof.syncs) == ([], [], {MX1: "", MX2: "0 of 2 synced"})
    conclusion = model.concluded(view(MX2), proof, "error")
    assert [finding["id"] for finding in conclusion.findings] == ["sync_failed"] and conclusion.compared == 0


SKIPPED = {"skipped": True}


@pytest.mark.parametrize(
    "results, outcome",
    [
        (({}, {"found": True}, SKIPPED, SKIPPED), (True, True, True, "")),
        (({}, {"found": False}, {}, {"found": True}), (True, False, True, "")),
        (({}, {"found": False}, {"msg": "0 of 1"}, {"found": False}), (True, False, False, "0 of 1")),
        (({}, {"msg": "no doveadm"}, {}, {"msg": "no doveadm"}), (True, False, False, "")),
        (({"msg": "No quota"}, SKIPPED, SKIPPED, SKIPPED), (False, False, False, "No quota")),
        # What the other way has left behind counts for nothing.
        (({}, {"found": True}, {"msg": "0 of 1"}, {"found": False}), (True, True, True, "")),
        (({"msg": "No quota"}, SKIPPED, {}, {"found": True}), (False, False, False, "No quota")),
    ],
)
def test_what_has_become_of_a_probe(results, outcome):
    came = {"found": True, "elapsed": 0.2}
    proof = model.probed(model.probed(begun(PROBE), [MX1, MX2], *results), [MX2, MX1], {}, came, {}, {})
    sent, announced, arrived, message = outcome
    told = {"sent": sent, "announced": announced, "arrived": arrived, "message": message, "seconds": None}
    assert proof.probes[0] == {"from": MX1, "to": MX2, **told}
    assert proof.probes[1]["from"] == MX2 and proof.probes[1]["announced"] and proof.probes[1]["seconds"] == 0.2


def test_equal_mail_ends_the_comparison():
    proof = model.compared(model.synced(begun(), replies("", "")), fingerprints({ALICE: "1"}, {ALICE: "1"}))
    assert (proof.to_compare, proof.compared, proof.differing) == ([], 2, [])


def test_mail_that_is_just_arriving_is_no_difference():
    """Only what has differed in the same way twice counts, and three times it is looked."""
    first = model.compared(begun(), fingerprints({ALICE: "1", BOB: "1"}, {ALICE: "2", BOB: "1"}))
    assert (first.to_compare, first.differing) == ([ALICE], [])
    second = model.compared(first, fingerprints({ALICE: "3"}, {ALICE: "4"}))
    assert (second.to_compare, second.differing) == ([ALICE], [])
    third = model.compared(second, fingerprints({ALICE: "3"}, {ALICE: "4"}))
    assert (third.to_compare, third.differing, third.compared) == ([], [ALICE], 2)
    assert model.compared(second, fingerprints({ALICE: "5"}, {ALICE: "5"})).differing == []


def test_a_host_that_catches_up_while_mail_comes_in_is_no_difference():
    """One host has now what the other one had before, which has more by then."""
    proof = begun()
    for here, there in (("5", "6"), ("6", "7"), ("7", "8")):
        proof = model.compared(proof, fingerprints({ALICE: here}, {ALICE: there}))
        assert proof.differing == []


def test_a_user_whom_one_host_does_not_have_differs():
    proof = model.compared(begun(), fingerprints({ALICE: "1"}, {}))
    assert proof.to_compare == [ALICE]


TWICE = (
    "%s in one folder twice, of %s. dsync doubles a message now and then when mail comes in during a sync; a client "
    "that copies one within its folder does, too. To keep one of each, run `%s` on mx1, then "
    "`ansible-playbook mailops.dovecot_replication.resync -e '{\"replication_users\": [%s]}'`."
)
COMMAND = "doveadm deduplicate -u %s ALL"
FOR_BOTH = "for user in a 'b c'; do " + COMMAND % '"$user"' + "; done"


@pytest.mark.parametrize(
    "doubled, told",
    [
        ({}, []),
        ({ALICE: 1}, [TWICE % ("1 message is", ALICE, COMMAND % ALICE, f'"{ALICE}"')]),
        (
            {"b c": 1, "a": 2},
            [TWICE % ("3 messages are", "a, b c", FOR_BOTH, '"a", "b c"')],
        ),
    ],
)
def test_messages_that_are_there_twice_are_no_finding(doubled, told):
    proof = begun()
    for name in [ALICE, *doubled]:
        rows = [{**row(name, "1"), "doubled": doubled.get(name, 0)}]
        proof = model.compared(proof, [{"item": host, "users": rows} for host in PAIR])
    concluded = model.concluded(view(), proof, "error")
    assert [line for line in concluded.report if "twice" in line] == told and concluded.findings == []


@pytest.mark.parametrize(
    "fail_on, name, failure", [("error", MX1, True), ("error", MX2, False), ("nothing", MX1, False)]
)
def test_a_host_fails_for_its_own_findings(fail_on, name, failure):
    assert bool(model.concluded(failing()._replace(name=name), model.Proof(), fail_on).failure) is failure


@pytest.mark.parametrize("fail_on, failure", [("error", ""), ("warning", "on hold")])
def test_warnings_fail_where_that_is_asked_for(fail_on, failure):
    text = model.concluded(on_hold(), model.Proof(), fail_on).failure
    assert failure in text and bool(text) is bool(failure)
    assert not failure or text.endswith("See the report for the evidence and the fix.")


def test_a_proof_of_an_earlier_run_counts_for_nothing():
    earlier = begun()._replace(compared=2, differing=[ALICE])
    assert [finding["id"] for finding in model.concluded(view(), earlier, "error").findings] == ["mail_differs"]
    for now in (view(previewing=True), view(observed=[MX1])):
        assert model.concluded(now, earlier, "error")[:1] == ([],)


def report(given, proof=None):
    return model.concluded(given, proof or model.Proof(), "error").report


NOBODY_TO_TRY = "No proof was tried, because no user is on both lists yet. replication_probe_user names one to try."
STATE = [f"{name}: Dovecot 2.3.21.1, 4 users, 0 failing, 0 being synced." for name in PAIR]
PROVED = begun()._replace(
    compared=2, probes=[{"from": MX1, "to": MX2, "sent": True, "announced": True, "arrived": True, "message": ""}]
)


@pytest.mark.parametrize(
    "given, proof, lines",
    [
        (
            view(),
            PROVED,
            [
                "A probe from mx1 has reached mx2.",
                "2 users have the same mail on both hosts, after a sync from either side.",
                *STATE,
                "No errors, no warnings.",
            ],
        ),
        (
            view(),
            begun()._replace(compared=1),
            [
                "1 user has the same mail on both hosts, after a sync from either side.",
                *STATE,
                "No errors, no warnings.",
            ],
        ),
        (
            view(previewing=True),
            model.Proof(),
            ["Check mode sends no mail, so this does not prove that mail arrives.", *STATE, "No errors, no warnings."],
        ),
        (
            view(observed=[MX1]),
            model.Proof(),
            [
                "No proof was tried, because only one host of the pair was observed.",
                STATE[0],
                "No errors, no warnings.",
            ],
        ),
        (view(sample=[]), model.Proof(), [NOBODY_TO_TRY, *STATE, "No errors, no warnings."]),
    ],
)
def test_the_report_of_a_healthy_pair(given, proof, lines):
    assert report(given, proof) == lines


def test_the_report_of_findings():
    lines = report(failing())
    assert lines[0].startswith("ERROR    mx1: Only mailboxes that change") and lines[0].endswith("[userdb_empty]")
    assert lines[1] == "         evidence: doveadm user '*' prints nothing"
    assert lines[2].startswith("         fix:      Make the userdb list its users")
    assert lines[-1] == "1 error, no warnings. Fix the first one, then run verify again."
    held = report(on_hold())
    assert held[0].startswith("WARNING  mx1: Replication from this host is on hold")
    assert "No proof was tried, because replication is on hold." in held
    assert held[-1] == "No errors, 1 warning. Fix the first one, then run verify again."


def test_the_records_pass_through_the_results_of_tasks():
    proof = model.probed(begun(PROBE), [MX1, MX2], {}, {"found": True}, {}, {})
    assert model.Proof.of(json.loads(json.dumps({"changed": False, **proof._asdict()}))) == proof
    assert model.Proof.of({}) == model.Proof()
