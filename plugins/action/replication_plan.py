# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_model as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _plan_recorder

OPTIONS = {
    "directory": {"type": "path"},
    "reviewed_file": {"type": "path"},
    "reviewed_digest": {"type": "str"},
}


class ActionModule(ActionBase):
    """Give the plan that was gathered so far; the host is not asked."""

    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        result["changed"] = False
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        try:
            plan = result["plan"] = gathered()
            result["refusal"] = refusal(plan, options)
            result["files"] = written(plan, options["directory"])
        except DovecotError as error:
            result.update(failed=True, msg=str(error))
        return result


def gathered():
    if _plan_recorder.CURRENT is None:
        raise DovecotError(
            "Making the plan",
            "nothing was gathered in this run",
            "the play is not one of the playbooks plan and apply, beside which callback_plugins/replication_plan.py is",
            "start `ansible-playbook mailops.dovecot_replication.plan`",
        )
    return _plan_recorder.CURRENT.plan()


def refusal(plan, options):
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


def reviewed(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return model.reviewed_plan(stream.read())
    except (OSError, ValueError) as error:
        raise DovecotError(
            f"Reading the reviewed plan {path}",
            error.strerror if isinstance(error, OSError) else str(error),
            cure="nothing was changed; give the plan.json that the playbook plan has written",
        ) from error


def written(plan, directory):
    try:
        return _plan_recorder.write(plan, directory) if directory else []
    except OSError as error:
        raise DovecotError(
            f"Writing the plan to {error.filename}",
            error.strerror,
            cure="name a directory where you may write with replication_plan_dir",
        ) from error
