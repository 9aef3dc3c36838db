# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ends the action on the controller, and when a digest alone is enough to refuse."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.action import replication_plan as action
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_file as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder

COLLECTION = {"name": "mailops.dovecot_replication", "version": "1.2.3"}
WHOLE = model.build("setup", COLLECTION, {"mx1": model.empty_host()})
FAILED = model.build("setup", COLLECTION, {"mx1": {**model.empty_host(), "failed": [{"task": "T", "message": "m"}]}})


def refusal(plan, path=None, digest=None):
    return action.refusal(plan, {"reviewed_file": path and str(path), "reviewed_digest": digest})


def test_nothing_to_compare_with_is_no_refusal():
    assert refusal(WHOLE) == [] == refusal(WHOLE, digest="")


def test_a_digest_alone():
    assert refusal(WHOLE, digest=WHOLE["digest"]) == []
    assert refusal(WHOLE, digest="sha256:0")[0].startswith("Its digest is sha256:0, and that of what would be done now")
    assert refusal(FAILED, digest=FAILED["digest"])[0].startswith("It is incomplete: ")


def test_file_and_digest_must_both_fit(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(model.as_json(WHOLE))
    assert refusal(WHOLE, path, WHOLE["digest"]) == []
    assert refusal(WHOLE, path, "sha256:0")
    assert refusal(FAILED, path)


@pytest.mark.parametrize("text, told", [(None, "No such file"), ("{}", "it is not a plan"), ("\x00", "it is not JSON")])
def test_a_file_that_is_no_plan(tmp_path, text, told):
    path = tmp_path / "plan.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DovecotError, match=f"Reading the reviewed plan {path} failed: {told}.*nothing was changed"):
        refusal(WHOLE, path)


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DovecotError, match="Writing the plan to .*file.* failed: .*replication_plan_dir"):
        action.written(WHOLE, str(tmp_path / "file" / "below"))
    assert action.written(WHOLE, None) == []


def test_without_the_callback_nothing_is_taken_for_a_plan(monkeypatch):
    monkeypatch.setattr(_plan_recorder, "CURRENT", None)
    with pytest.raises(DovecotError, match="nothing was gathered in this run"):
        action.gathered()
