# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From results as Ansible gives them to a plan, and when a reviewed one may be applied."""

import copy
import json

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_file as model

COLLECTION = {"name": "mailops.dovecot_replication", "version": "1.2.3"}
CONFIG_TASK = {
    "changed": True,
    "files": [{"path": "/etc/dovecot/a.conf", "action": "changed"}],
    "diff": [{"before_header": "/a", "after_header": "/a", "before": "x = 1\n", "after": "x = 2\n"}],
    "invocation": {"module_args": {"x": 1}},
    "elapsed": 1.5,
}


def host(**lists):
    return {**model.empty_host("pair"), **lists}


def change(**values):
    return {"task": "Write", "action": "a.b.dovecot_config", "kind": "files", **values}


def plan(of="setup", version="1.2.3", **hosts):
    collection = {**COLLECTION, "version": version}
    return model.build(of, collection, hosts or {"mx1": host(changes=[change()]), "mx2": host(in_order=["Write"])})


def test_a_reload_that_is_missing_is_one_service_and_no_file():
    result = {"changed": True, "files": [], "diff": [{"before": "running: old\n", "after": "running: new\n"}]}
    changes = model.changes_of("Write", "a.b.dovecot_config", result)
    changes += model.changes_of("Reload", "ansible.builtin.service", {"changed": True, "name": "dovecot"})
    assert model.in_words(model.counts_of(changes)) == "1 service"


@pytest.mark.parametrize(
    "diff, text",
    [
        (None, ""),
        ({"before": "", "after": ""}, ""),
        ({"before": "a\n", "after": "b\n"}, "--- before\n+++ after\n@@ -1 +1 @@\n-a\n+b\n"),
        (
            {"before": "", "after": "b", "after_header": "/root/.ansible/tmp/ansible-local-1x/tmpy/rules.j2"},
            "--- rules.j2\n+++ rules.j2\n@@ -0,0 +1 @@\n+b\n\\ No newline at end of file\n",
        ),
        (
            {"before": "a\n", "before_header": "/etc/x", "after": "", "after_header": "/tmp/.ansible/tmp/x/y"},
            "--- /etc/x\n+++ /etc/x\n@@ -1 +0,0 @@\n-a\n",
        ),
        (
            [{"before": {"mode": "0600", "path": "/x"}, "after": {"path": "/x", "mode": "0644"}}],
            '--- before\n+++ after\n@@ -1,2 +1,2 @@\n-mode: "0600"\n+mode: "0644"\n path: "/x"\n',
        ),
        ({"prepared": "two packages\npassword = hidden"}, "two packages\npassword = ********\n"),
        ({"before": "api_key = one\n", "after": "api_key = two\n"}, None),
        ({"dst_binary": 1, "src_larger": 1}, "(binary: not shown)\n"),
    ],
)
def test_a_diff_of_ansible_as_text(diff, text):
    shown = model.unified(diff)
    if text is None:
        assert "api_key = ********  # changed" in shown and "one" not in shown and "two" not in shown
    else:
        assert shown == text


def test_only_what_is_the_same_in_each_run_is_kept():
    (seen,) = model.changes_of("Write", "m.d.dovecot_config", CONFIG_TASK)
    assert seen == {
        "task": "Write",
        "action": "m.d.dovecot_config",
        "kind": "files",
        "files": [{"path": "/etc/dovecot/a.conf", "action": "changed"}],
        "diff": "--- /a\n+++ /a\n@@ -1 +1 @@\n-x = 1\n+x = 2\n",
    }


@pytest.mark.parametrize(
    "action, result, expected",
    [
        (
            "m.d.replicator_user",
            {"added": ["b", "a"], "removed": ["c"], "diff": {}},
            {"added": ["a", "b"], "removed": ["c"]},
        ),
        ("m.d.replicator_replicate", {"requested": ["b", "a"]}, {"requested": ["a", "b"]}),
        ("ansible.builtin.service", {"name": "dovecot", "status": {"Id": 3}}, {"service": "dovecot"}),
        ("ansible.builtin.copy", {"censored": "hidden", "diff": {"before": "", "after": "s"}}, {"note": model.HIDDEN}),
        ("x.y.z", {"_ansible_delegated_vars": {"ansible_delegated_host": "mx2"}}, {"delegated_to": "mx2"}),
    ],
)
def test_what_is_told_of_a_change(action, result, expected):
    (seen,) = model.changes_of("Task", action, result)
    assert {key: seen[key] for key in seen if key not in ("task", "action", "kind")} == expected


def test_a_loop_is_a_change_for_each_item_that_changes():
    results = [{"changed": label != "b", "_ansible_item_label": label} for label in ("a", "b", {"path": "c"})]
    seen = model.changes_of("Task", "ansible.builtin.file", {"changed": True, "results": results})
    assert [item["item"] for item in seen] == ["a", '{"path": "c"}']


@pytest.mark.parametrize(
    "result, why",
    [
        ({"skipped": True, "msg": "Command would have run if not in check mode"}, True),
        ({"changed": True, "msg": "Command would have run if not in check mode"}, True),
        ({"skipped": True, "msg": "remote module (x) does not support check mode"}, True),
        ({"changed": True, "not_previewed": "no Dovecot"}, True),
        ({"skipped": True, "skip_reason": "Conditional result was False", "false_condition": "a == b"}, False),
        ({"skipped": True, "skipped_reason": "No items in the list", "results": []}, False),
        ({"changed": True, "msg": "line added"}, False),
    ],
)
def test_what_cannot_be_previewed(result, why):
    assert bool(model.not_previewed_of("Task", result)) is why


def test_what_the_play_leaves_out_of_a_check_run():
    assert model.is_left_out({"skipped": True, "false_condition": "not __replication_check_mode"})
    assert model.is_left_out({"results": [{"skipped": True, "false_condition": "not ansible_check_mode"}]})
    assert not model.is_left_out({"skipped": True, "false_condition": "replication_verify | bool"})


def test_the_messages_of_the_items_that_failed():
    results = [{"failed": True, "msg": "first"}, {"failed": False, "msg": "fine"}, {"failed": True, "msg": "first"}]
    assert model.problem_of("T", {"failed": True, "msg": "One or more items failed", "results": results}) == {
        "task": "T",
        "message": "first",
    }
    assert model.problem_of("T", {"failed": True})["message"] == "no message"


def test_which_tasks_only_look():
    for action in ("ansible.builtin.debug", "m.d.replicator_info", "ansible.builtin.include_tasks", "set_fact"):
        assert model.looks_only(action)
    assert model.looks_only("ansible.builtin.command", [False])
    for action in ("m.d.replicator_user", "ansible.builtin.command", "ansible.builtin.file"):
        assert not model.looks_only(action, ["x is changed"])


@pytest.mark.parametrize(
    "hosts, result, message",
    [
        ({}, "incomplete", "There is no host to plan for."),
        ({"a": host()}, "no changes", "Nothing would change."),
        ({"a": host(changes=[change()])}, "changes", "1 of 1 host would change (1 file)."),
        (
            {"a": host(changes=[change()]), "b": host(failed=[{"task": "T", "message": "m"}]), "c": host()},
            "incomplete",
            "1 of 3 hosts would change (1 file); 1 of 3 hosts could not be planned.",
        ),
        (
            {"a": host(unreachable=[{"task": "T", "message": "m"}])},
            "incomplete",
            "No change is known; 1 of 1 host could not be reached.",
        ),
    ],
)
def test_what_a_plan_comes_to(hosts, result, message):
    seen = model.build("setup", COLLECTION, hosts)
    assert (seen["result"], seen["message"]) == (result, message)


def test_hosts_are_ordered_by_pair():
    hosts = {"b": host(), "c": {**host(), "pair": "a"}, "a": host(), "d": {**host(), "pair": None}}
    assert list(model.build("setup", COLLECTION, hosts)["hosts"]) == ["d", "c", "a", "b"]


def test_a_plan_survives_its_file():
    made = plan()
    assert model.reviewed_plan(model.as_json(made)) == made
    assert model.refusal(model.reviewed_plan(model.as_json(made)), plan()) == []


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "it is not JSON"),
        ("[]", "it is not a plan"),
        (json.dumps({"hosts": {}}), "it is not a plan"),
        (model.as_json({**plan(), "format": 99}), "its format is 99, and this version knows 1"),
        (model.as_json(plan()).replace("mx2", "mx3"), "it was edited"),
    ],
)
def test_what_is_no_plan(text, problem):
    with pytest.raises(ValueError, match=problem):
        model.reviewed_plan(text)


UNREACHED = {"mx1": host(unreachable=[{"task": "T", "message": "m"}])}


@pytest.mark.parametrize(
    "reviewed, now, told",
    [
        (plan(of="decommission"), plan(), "a plan of another playbook: decommission, and this is setup."),
        (
            plan(version="1.2.2"),
            plan(),
            "another collection: mailops.dovecot_replication 1.2.2, and this is mailops.dovecot_replication 1.2.3.",
        ),
        (plan(), plan(mx1=host(changes=[change()])), "Hosts no longer in the play: mx2."),
        (plan(mx1=host(changes=[change()])), plan(), "Hosts not in the reviewed plan: mx2."),
        (plan(), plan(mx1=host(changes=[change(diff="-a\n")]), mx2=host(in_order=["Write"])), "+  | -a"),
        (plan(), plan(mx1=host(in_order=["Write"]), mx2=host(in_order=["Write"])), "-would change: Write"),
        (plan(**UNREACHED), plan(**UNREACHED), "The reviewed plan is incomplete: No change is known"),
        (plan(), plan(**UNREACHED), "The plan as it is now is incomplete"),
    ],
)
def test_when_a_reviewed_plan_is_refused(reviewed, now, told):
    lines = model.refusal(copy.deepcopy(reviewed), now)
    assert any(told in line for line in lines), lines
    # The first line stands alone in the message of the failure.
    assert lines[0].endswith(".")
