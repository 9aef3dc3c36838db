# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is gathered by host, and what is written."""

import json
import os

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder as recorder

ACTION = "ansible.builtin.copy"


def plan(record):
    made = recorder.Recorder("setup")
    record(made)
    return made.plan()


def test_what_is_gathered_of_a_host():
    def record(made):
        made.ok("mx1", "Look", {"changed": False}, "ansible.builtin.stat")
        made.ok("mx1", "Keep", {"changed": False}, ACTION)
        made.ok("mx1", "Write", {"changed": True}, ACTION)
        made.ok("mx1", "Really", {"changed": True}, ACTION, checked=False)
        made.skipped("mx1", "Prove", {"skipped": True, "false_condition": "not __replication_check_mode"})
        made.skipped("mx1", "Run", {"skipped": True, "msg": "would have run if not in check mode"})

    host = plan(record)["hosts"]["mx1"]
    assert [change["task"] for change in host["changes"]] == ["Write", "Really"]
    assert "done" not in host["changes"][0] and host["changes"][1]["done"] is True
    assert host["in_order"] == ["Keep"] and host["left_out"] == ["Prove"]
    assert [item["task"] for item in host["not_previewed"]] == ["Run"]


def test_what_was_rescued_is_no_failure_and_what_was_lost_is_one():
    def record(made):
        made.failed("mx1", "Try", {"msg": "no"})
        made.rescued("mx1")
        made.lost("mx2", "Write", KeyError("path"))
        made.rescued("mx2")

    seen = plan(record)
    assert seen["hosts"]["mx1"]["result"] == "no changes"
    assert seen["hosts"]["mx2"]["failed"][0]["message"] == "what it would do could not be recorded: KeyError('path')"
    assert seen["result"] == "incomplete"


def test_files_are_written_anew_and_readable(tmp_path):
    made = plan(lambda made: made.ok("mx1", "Keep", {}, ACTION))
    directory = tmp_path / "new" / "deeper"
    recorder.write(made, str(directory))
    paths = recorder.write(made, str(directory))
    assert paths == [str(directory / "plan.md"), str(directory / "plan.json")]
    assert sorted(os.listdir(directory)) == ["plan.json", "plan.md"]
    assert json.loads((directory / "plan.json").read_text()) == made
    assert (directory / "plan.md").stat().st_mode & 0o444 == 0o444 & ~current_umask()


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_the_version_is_that_of_the_checkout_or_of_what_is_installed(tmp_path, monkeypatch):
    assert recorder.version()[0].isdigit()
    monkeypatch.setattr(recorder, "ROOT", tmp_path)
    (tmp_path / "MANIFEST.json").write_text('{"collection_info": {"version": "4.5.6"}}')
    assert recorder.version() == "4.5.6"
