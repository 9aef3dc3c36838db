# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of a working day, each with a check run that tells what is done."""

import os

import pytest
import runs
from conftest import EVERYONE, HOSTS, INVENTORY, MX1, MX2
from runs import changes, failures, handed_over, reported, succeeded

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import findings

pytestmark = [
    pytest.mark.parametrize("pair", ["bookworm-backports"], indirect=True),
    pytest.mark.usefixtures("tidied"),
]

ALICE, BOB = "alice@example.org", "bob@example.org"
# What each playbook's result tells of a host beside `ok` and `message`; see docs/results.md.
RESULTS = {
    "setup": {"dovecot_version", "changed", "changed_files", "findings", "compared_users"},
    "verify": {
        *["dovecot_version", "pair", "known_users", "failing", "failing_users", "summary"],
        *["findings", "compared_users"],
    },
    "status": {"dovecot_version", "overview", "summary", "running", "failing", "failing_users"},
    "resync": {
        *["requested", "synced", "failed", "dropped", "pending", "elapsed"],
        *["failed_users", "dropped_users", "pending_users"],
    },
    "drain": {"hold", "changed", "known_users", "queued_users"},
    "decommission": {"changed", "changed_files"},
}
HOLD = "/etc/dovecot/replication-hold.conf.ext"


def check_then_run(pair, playbook, **variables):
    """The results of both; they change the same."""
    announced = succeeded(pair.play(playbook, "--check", **variables))
    done = succeeded(pair.play(playbook, **variables))
    assert changes(announced) == changes(done)
    for results in announced, done:
        see_result(results, playbook)
    return announced, done


def see_result(results, playbook):
    """A playbook on a healthy pair hands over what docs/results.md tells."""
    handed = handed_over(results)
    check = handed["message"].startswith("In check mode: ")
    assert (handed["playbook"], handed["check_mode"], handed["ok"]) == (playbook, check, True)
    assert set(handed["hosts"]) == set(HOSTS) and "\n" not in handed["message"]
    for host in handed["hosts"].values():
        assert set(host) == RESULTS[playbook] | {"ok", "message"} and (host["ok"], host["message"]) == (True, "")


def test_drain_and_release(pair):
    """What comes while it is on hold waits, over a restart too, and arrives after the release."""
    announced, done = check_then_run(pair, "drain")
    assert reported(announced)[0] == f"{MX1}: would be put on hold; 0 of 4 users are queued."
    assert "replication_hold=false" in reported(done)[-1]
    token = pair.deliver(ALICE)
    pair.shell("systemctl restart dovecot")
    assert pair.arrived(ALICE, token, seconds=3) is None
    again = succeeded(pair.play("drain"))
    assert changes(again) == []
    assert reported(again)[0] == f"{MX1}: on hold; 1 of 4 users have changes that wait for the release."

    verified = succeeded(pair.play("verify"))
    assert "[on_hold]" in reported(verified)[0]
    assert "No proof was tried, because replication is on hold." in reported(verified)

    announced = succeeded(pair.play("drain", "--check", replication_hold="false"))
    released = succeeded(pair.play("drain", "-e", "replication_hold=false"))
    assert changes(announced) == changes(released) != []
    assert reported(released)[0] == f"{MX1}: released; all 4 users are synced."
    assert pair.arrived(ALICE, token) is not None
    assert changes(succeeded(pair.play("drain", "-e", "replication_hold=false"))) == []


def test_nothing_is_held_when_not_all_is_synced(pair):
    with pair.stopped():
        pair.module("replicator_replicate", users=[ALICE])
        results = pair.play("drain", replication_hosts=MX1, replication_drain_timeout=3)
        assert "alice@example.org" in failures(results)[0]
    assert pair.shell(f"ls {HOLD}", check=False).returncode != 0
    pair.module("replicator_replicate", user_mask="*", failed_only=True, wait=True)


def test_resync(pair):
    token = pair.save_unnoticed(ALICE)
    announced, done = check_then_run(pair, "resync")
    assert reported(announced)[:2] == [f"{host}: would have 4 users synced." for host in HOSTS]
    assert [line.split(" in ")[0] for line in reported(done)[:2]] == [f"{host}: 4 of 4 users synced" for host in HOSTS]
    assert pair.arrived(ALICE, token) is not None

    some = succeeded(pair.play("resync", replication_users=[BOB], replication_full=True, replication_from=MX1))
    assert reported(some)[0].startswith(f"{MX1}: 1 of 1 users synced")


def test_resync_names_who_was_not_synced(pair):
    with pair.stopped():
        results = pair.play("resync", replication_users=[ALICE], replication_from=MX1)
    (message,) = failures(results)
    assert "0 of 1 users synced, 1 failed" in message and ALICE in message
    (host,) = handed_over(results)["hosts"].values()
    assert (host["ok"], host["requested"], host["synced"], host["failed_users"]) == (False, 1, 0, [ALICE])
    assert "names causes and cures" in reported(results)[-1]
    succeeded(pair.play("resync", replication_users=[ALICE]))


@pytest.mark.parametrize("playbook", ["setup", "verify", "status"])
def test_result_when_nothing_needs_a_person(pair, playbook):
    for check in ([], ["--check"]):
        see_result(succeeded(pair.play(playbook, *check)), playbook)


def test_results_when_a_person_is_needed(pair):
    """A host in trouble hides nothing of the other one."""
    # A set-up starts a stopped Dovecot, but does not go on where a setting of its is overridden.
    overridden = {"/etc/dovecot/conf.d/99-other.conf": "plugin {\n  mail_replica = tcp:elsewhere.example.org:1\n}\n"}
    with pair.stopped(), pair.replaced(overridden, hosts=[MX2]):
        pair.module("replicator_replicate", users=[ALICE], wait=True, wait_timeout=10)
        for playbook, words in [
            ("status", "The syncs of 1 of 4 users fail, such as alice@example.org."),
            ("decommission", "The syncs of users fail."),
            ("setup", None),
        ]:
            results = pair.play(playbook)
            handed = handed_over(results)
            last = [line["host"] for line in results if line["task"] == "Fail where a person is needed"]
            assert sorted(last) == ([MX2] if words is None else [MX1, MX2])
            first, second = (handed["hosts"][host] for host in HOSTS)
            assert (handed["ok"], first["ok"], second["ok"]) == (False, words is None, False)
            assert words is None or words in first["message"] and f"{MX1}: " in handed["message"]
            assert f"{MX2}: {second['message'][:60]}" in handed["message"]
            assert set(first) == set(second) == RESULTS[playbook] | {"ok", "message"}
        assert handed["hosts"][MX1]["changed"] is False
        only = handed_over(succeeded(pair.play("status", replication_hosts=MX1, replication_fail_on="nothing")))
        assert (only["ok"], only["hosts"][MX1]["failing_users"]) == (True, [ALICE])
    pair.module("replicator_replicate", user_mask="*", failed_only=True, wait=True)


@pytest.mark.parametrize("playbook", ["setup", "status", "decommission"])
def test_results_when_a_host_is_away(pair, tmp_path, playbook):
    """One that cannot even be reached, or none at all."""
    (tmp_path / "away.yml").write_text(f"all: {{hosts: {{{MX2}: {{ansible_port: 1, ansible_connection: ssh}}}}}}")
    away = ["--check", "-i", str(tmp_path / "away.yml")]
    none = {"ok": False, "message": "No result: it could not be reached, or the run was broken off. See the output."}
    handed = handed_over(pair.play(playbook, *away))
    assert handed["ok"] is False and handed["hosts"][MX2] == none
    other = handed["hosts"][MX1]
    assert set(other) == RESULTS[playbook] | {"ok", "message"}
    assert other["message"] == (f"Nothing was done here, as {MX2} is not ready." if playbook == "decommission" else "")
    alone = handed_over(pair.play(playbook, *away, replication_hosts=MX2))
    assert alone["ok"] is False and alone["hosts"] == {MX2: none}


@pytest.mark.rare
def test_a_page(pair, tmp_path):
    """It tells of a look that changed nothing, of one host that cannot be reached, and of a result that was kept."""
    path = tmp_path / "replication.html"
    where = {"replication_report_file": str(path)}
    for options in ([], ["--check"]):
        results = succeeded(pair.play("report", *options, **where))
        assert changes(results) == [] and reported(results) == [f"The pair is in order. The page is {path}."]
        assert "<h1>The pair is in order</h1>" in path.read_text() and "this look sent none" in path.read_text()
        path.unlink()
    with pair.stopped():
        results = succeeded(pair.play("report", replication_report_hand_over=True, **where))
    assert reported(results)[0].startswith("The pair needs a person.")
    page = path.read_text()
    assert "peer_unreachable" in page and results[-1]["result"]["replication_page"] == page
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        (runs.ROOT / "docs" / "static" / "report.html").write_text(page)
    unreachable = tmp_path / "away.yml"
    for away in ([MX2], HOSTS):
        hosts = ", ".join(f"{host}: {{ansible_port: 1}}" for host in away)
        unreachable.write_text(f"all: {{hosts: {{{hosts}}}}}\n")
        assert len(failures(pair.play("report", "-i", str(unreachable), **where))) == len(away)
        assert all(f"{host}: It could not be reached" in path.read_text() for host in away)
    nobody = {"ansible_become_user": "nobody", "ansible_become_method": "su", "ansible_become_flags": "-s /bin/sh"}
    assert reported(pair.play("report", **nobody, **where))[0].startswith("The pair needs a person.")
    assert "as the user nobody" in path.read_text() and "Nothing is wrong." not in path.read_text()
    kept = handed_over(succeeded(pair.play("verify")))
    results = succeeded(pair.play("report", replication_report_result=kept, replication_report_names=False, **where))
    assert "this look sent none" not in path.read_text() and "Names of users are left out" in path.read_text()
    assert ALICE not in path.read_text()
    (told,) = failures(pair.play("report", replication_report_result={"playbook": "status", "hosts": {}}, **where))
    assert "not one of the playbook verify" in told
    (told,) = failures(pair.play("report", replication_report_file=str(tmp_path / "no" / "page.html")))
    assert "Writing the page failed" in told and "give another path" in told


def test_decommission(pair):
    """It does not begin while something is wrong, unless it is told to."""
    with pair.stopped():
        results = pair.play("decommission")
        assert failures(results) and changes(results) == []
    pair.module("replicator_replicate", user_mask="*", failed_only=True, wait=True)
    succeeded(pair.play("verify"))
    token = pair.deliver(ALICE)
    announced, done = check_then_run(pair, "decommission")
    assert reported(announced)[0] == f"{MX1}: replication would be taken down, and the mail stays."
    assert reported(done)[0] == f"{MX1}: replication is taken down, and the mail stays."
    for host in HOSTS:
        assert pair.shell("doveconf -h plugin/mail_replica", host).stdout.strip() == ""
        assert pair.arrived(ALICE, token, host) is not None
    succeeded(pair.play("setup"))


@pytest.mark.rare
def test_decommission_of_a_host_whose_peer_is_gone(pair):
    with pair.stopped():
        results = pair.play("decommission", replication_hosts=MX1, replication_force=True)
    assert changes(succeeded(results)) != []
    succeeded(pair.play("setup"))


def messages(pair, host):
    """The fingerprint of all that each user has, and of each message the mailbox, UID, GUID and flags of clients."""
    found = pair.agent(host).module("mailbox_info", users=EVERYONE)["users"]
    fetch = "doveadm -f tab fetch -u {} 'mailbox uid guid flags' ALL"
    return {
        user["username"]: (
            user["fingerprint"],
            pair.shell(fetch.format(user["username"]), host).stdout.replace("\\Recent", ""),
        )
        for user in found
    }


def assert_refilled(pair, before):
    """Both hosts are equal, and have the messages of ``before``.

    The fingerprint is another one where both have synced a new user at once: each makes an INBOX then, and dsync keeps
    the GUID of one of them.
    """
    here, there = (messages(pair, host) for host in HOSTS)
    assert here == there
    for user, (_fingerprint, mail) in before.items():
        assert here[user][1] == mail


def lose_everything(pair, host):
    """A new host in place of an old one: configured like it, and empty."""
    pair.shell("systemctl stop dovecot; rm -rf /srv/vmail/*@example.org /var/lib/dovecot/*", host)


@pytest.mark.rare
def test_a_host_is_replaced(pair):
    """The other one fills it, whoever of the two starts the first sync, and loses nothing."""
    for user in EVERYONE:
        pair.deliver(user)
    succeeded(pair.play("resync"))
    before = messages(pair, MX1)
    assert all(len(mail.splitlines()) > 1 for _fingerprint, mail in before.values())

    lose_everything(pair, MX2)
    pair.shell("systemctl start dovecot", MX2)
    succeeded(pair.play("setup", replication_verify=True))
    succeeded(pair.play("resync", replication_full=True, replication_from=MX1))
    assert_refilled(pair, before)

    # The full host first, which thinks that it knows what the other one has, until it compares all.
    lose_everything(pair, MX2)
    pair.shell("sed -i 's/process_min_avail = 1/process_min_avail = 0/' /etc/dovecot/conf.d/11-replication.conf", MX2)
    pair.shell("systemctl start dovecot", MX2)
    succeeded(pair.play("resync", replication_from=MX1))
    succeeded(pair.play("resync", replication_full=True, replication_from=MX1))
    assert_refilled(pair, before)
    succeeded(pair.play("setup"))

    # The empty host first.
    lose_everything(pair, MX2)
    pair.shell("systemctl start dovecot", MX2)
    succeeded(pair.play("resync", replication_from=MX2))
    assert_refilled(pair, before)
    seen = {host: pair.agent(host).module("node_info") for host in HOSTS}
    assert findings(seen) == []


SHOWN = """# The playbooks, as they look

What each prints on a healthy pair with Dovecot %(dovecot)s, in this order, written by the test run (`make samples`).
Names of hosts and users are those of the tests; `inventory.yml` is like that of the [quickstart](quickstart.md).
Skipped tasks are not shown (`ANSIBLE_DISPLAY_SKIPPED_HOSTS=false`). With that setting Ansible prints the name of a task
after its report.
%(runs)s"""
RUNS = [
    "setup",
    "status",
    "verify -e replication_probe_user=alice@example.org",
    "resync",
    "drain --check",
    "drain",
    "verify",
    "drain -e replication_hold=false",
    "decommission --check",
]


def test_what_a_newcomer_sees(pair):
    """Playbooks from a shell, with nothing but an inventory; all of them for the documentation."""
    updating = os.environ.get("MAILOPS_UPDATE_DOCS")
    shown = ""
    for line in RUNS if updating else RUNS[:3]:
        playbook, *options = line.split()
        command = runs.playbook_command(pair.lab, INVENTORY, f"{runs.COLLECTION}.{playbook}", *options)
        done = runs.completed(command, runs.environment(ANSIBLE_DISPLAY_SKIPPED_HOSTS="false"))
        assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
        assert "only-for-the-lab" not in done.stdout
        command = f"$ ansible-playbook -i inventory.yml mailops.dovecot_replication.{line}"
        output = done.stdout.replace(str(runs.ROOT / ".venv" / "collections"), "~/.ansible/collections")
        output = "\n".join(text.rstrip() for text in output.strip().splitlines())
        shown += f"\n## {line}\n\n```console\n{command}\n\n{output}\n```\n"
    if updating:
        text = SHOWN % {"dovecot": pair.dovecot, "runs": shown}
        (runs.ROOT / "docs" / "playbooks.md").write_text(text)
