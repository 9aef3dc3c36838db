# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, List, Mapping, Optional

from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_file as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder, _result
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._plan_markdown import markdown
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._report import show

OPTIONS = {
    "directory": {"type": "path"},
    "reviewed_file": {"type": "path"},
    "reviewed_digest": {"type": "str"},
}


class ActionModule(ActionBase):
    """Give the plan that was gathered so far; the host is not asked."""

    _requires_connection = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        result["changed"] = False
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        try:
            plan = result["plan"] = gathered()
            result["refusal"] = refusal(plan, options)
            result["files"] = written(plan, options["directory"])
            result["report"] = _result.plan_report(plan, result["files"]) if result["files"] else []
            show(result["report"])
            # What set_stats returns.
            result["ansible_stats"] = {"data": handed_over(result), "per_host": False, "aggregate": False}
        except DovecotError as error:
            result.update(failed=True, msg=str(error))
        return result


def handed_over(result: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what jobs that follow are given: a plan that was written, or the refusal of one."""
    if result["refusal"]:
        return {"replication_result": _result.refused(result["refusal"][0])}
    if result["files"]:
        plan = result["plan"]
        return {
            "replication_result": _result.planned(plan),
            "replication_plan_digest": plan["digest"],
            # Job servers keep no files.
            "replication_plan": markdown(plan),
        }
    return {}


def gathered() -> Dict[str, Any]:
    """Return the plan of this run; raise DovecotError where none was gathered."""
    if _plan_recorder.CURRENT is None:
        raise DovecotError(
            "Making the plan",
            "nothing was gathered in this run",
            "the play is not one of the playbooks plan and apply, beside which callback_plugins/replication_plan.py is",
            "start `ansible-playbook mailops.dovecot_replication.plan`",
        )
    return _plan_recorder.CURRENT.plan()


def refusal(plan: model.Plan, options: Mapping[str, Any]) -> List[str]:
    """Return why the plan is not the reviewed one, a list of lines."""
    lines = []
    if options["reviewed_file"]:
        lines += model.refusal(reviewed(options["reviewed_file"]), plan)
    digest = options["reviewed_digest"]
    if digest and digest != plan["digest"]:
        lines.append(f"Its digest is {digest}, and that of what would be done now is {plan['digest']}.")
    if digest and not lines and plan["result"] == model.INCOMPLETE:
        lines.append(f"It is incomplete: {plan['message']}")
    return lines


def reviewed(path: str) -> Dict[str, Any]:
    """Return the plan in a file; raise DovecotError where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return model.reviewed_plan(stream.read())
    except (OSError, ValueError) as error:
        raise DovecotError(
            f"Reading the reviewed plan {path}",
            error.strerror if isinstance(error, OSError) else str(error),
            cure="nothing was changed; give the plan.json that the playbook plan has written",
        ) from error


def written(plan: model.Plan, directory: Optional[str]) -> List[str]:
    """Write the plan where a directory is given, and return the paths; raise DovecotError where that fails."""
    try:
        return _plan_recorder.write(plan, directory) if directory else []
    except OSError as error:
        raise DovecotError(
            f"Writing the plan to {error.filename}",
            error.strerror,
            cure="name a directory where you may write with replication_plan_dir",
        ) from error
