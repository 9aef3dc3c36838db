# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the live tests compare of a module's result and its RETURN, and that a RETURN says all by keys."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lab"))

import returned  # noqa: E402

STATUS = {"type": "str", "returned": "success"}
RETURN = {
    "users": {
        "type": "list",
        "elements": "dict",
        "returned": "success",
        "contains": {
            "username": {"type": "str"},
            "age": {"type": "int"},
            "mailboxes": {"type": "list", "elements": "str", "returned": "when asked for"},
        },
    },
    "status": STATUS,
    "elapsed": {"type": "float", "returned": "when it waited"},
}
ALICE = {"username": "alice", "age": None}


# Dicts whose keys are the names of users or hosts, or that are described elsewhere.
FREE = {
    ("replicator_replicate", "dropped_reasons"),
    ("replicator_user", "dropped_reasons"),
    ("replicator_wait", "dropped_reasons"),
    ("replicator_replicate", "failed_reasons"),
    ("replicator_user", "failed_reasons"),
    ("replicator_wait", "failed_reasons"),
    ("replication_verify", "syncs"),
    ("replication_verify", "failing"),
    ("replication_verify", "unreadable"),
    ("replication_verify", "doubled"),
    ("replication_adopt", "syncs"),
    ("replication_adopt", "before"),
    ("replication_adopt", "doubled"),
    # By host, and by playbook: docs/results.md.
    ("replication_result", "result.hosts"),
    # The options of dovecot_config.
    ("replication_pair", "config"),
    # plan.json: docs/review.md.
    ("replication_plan", "plan"),
}


def opaque(path, documented):
    """The dicts in a RETURN whose keys it does not describe."""
    for key, about in documented.items():
        if about["type"] == "dict" or about.get("elements") == "dict":
            yield from opaque(f"{path}{key}.", about["contains"]) if "contains" in about else [path + key]


def test_each_nested_key_is_described():
    names = [path.stem for path in returned.MODULES.glob("*.py")]
    assert {(name, key) for name in names for key in opaque("", returned.with_passed_on(name))} == FREE


@pytest.fixture
def module(monkeypatch):
    monkeypatch.setattr(returned, "described", lambda name: RETURN)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    "result, lines",
    [
        ({"users": [ALICE], "status": "ok", "changed": False, "invocation": {}}, []),
        ({"users": [], "status": "ok", "elapsed": 1}, []),
        ({"users": [], "status": None}, []),
        ({"users": [], "status": "ok", "more": 1}, ["m: more is returned and not described"]),
        ({"users": []}, ["m: status is described and not returned"]),
        ({"users": [{**ALICE, "x": 1}], "status": "ok"}, ["m: users.x is returned and not described"]),
        ({"users": [{"username": "a"}], "status": "ok"}, ["m: users.age is described and not returned"]),
        (
            {"users": [{**ALICE, "mailboxes": [1]}], "status": ""},
            ["m: users.mailboxes[] is described as str, and is 1"],
        ),
        ({"users": [], "status": 5}, ["m: status is described as str, and is 5"]),
        ({"users": [{**ALICE, "age": True}], "status": ""}, ["m: users.age is described as int, and is True"]),
        ({"failed": True, "msg": "x"}, []),
        ({"failed": True, "users": [{"username": "a"}]}, ["m: users.age is described and not returned"]),
        ({"failed": True, "more": 1}, ["m: more is returned and not described"]),
        # With failed_when: false nobody can tell whether it failed.
        ({"failed": False, "failed_when_result": False, "msg": "x"}, []),
        ({"failed": False, "failed_when_result": False, "failed_when_suppressed_exception": "x"}, []),
        # The exception is there since ansible-core 2.19.
        ({"failed": False, "failed_when_result": False, "failed_when_suppressed_exception": "x"}, []),
        ({"waiting": {}, "users": []}, []),
        ({"censored": "the output has been hidden"}, []),
    ],
)
def test_differences(result, lines):
    assert returned.differences("m", result) == lines


@pytest.mark.usefixtures("module")
def test_which_results_are_compared():
    with pytest.raises(AssertionError, match="status"):
        returned.check("mailops.dovecot_replication.m", {"users": []})
    with pytest.raises(AssertionError, match="status"):
        returned.check("mailops.dovecot_replication.m", {"results": [{"users": [], "status": "ok"}, {"users": []}]})
    returned.check("ansible.builtin.debug", {"x": 1})
