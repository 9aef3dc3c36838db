# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Mapping, Optional

from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _result as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._report import show
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._verification import pair_of

OPTIONS = {
    "playbook": {"type": "str", "required": True, "choices": list(model.PLAYBOOKS)},
    "stage": {"type": "str", "required": True, "choices": ["begun", "failed", "ended"]},
    "group": {"type": "str", "default": "dovecot_replication"},
    "state": {"type": "str", "default": "present"},
    "hold": {"type": "bool", "default": True},
}


class ActionModule(ActionBase):
    """Hand over what a playbook has come to; the host is not asked."""

    _requires_connection = False

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        if options["stage"] == "failed":
            result.update(failed=True, msg=model.failure(variables.get("ansible_failed_result") or {}))
            return result
        run = run_of(options, self._task.check_mode, variables)
        begins = options["stage"] == "begun"
        result["result"] = model.begun(run) if begins else model.ended(run)
        result["report"] = [] if begins else model.report(run)
        show(result["report"])
        result["changed"] = False
        # What set_stats returns.
        data = {"replication_result": result["result"]}
        result["ansible_stats"] = {"data": data, "per_host": False, "aggregate": False}
        return result


def run_of(options: Mapping[str, Any], check_mode: bool, variables: Mapping[str, Any]) -> model.Run:
    """Return the play as it is now, before its first task without what earlier plays have left."""
    names = variables["ansible_play_hosts_all"]
    hostvars = variables["hostvars"]
    # Results of modules hold no templates, and templating would look for some in each name of a long list.
    known = {name: hostvars.raw_get(name) for name in names} if options["stage"] == "ended" else {}
    return model.Run(
        playbook=options["playbook"],
        check_mode=bool(check_mode),
        facts={name: model.facts_of(known.get(name, {})) for name in names},
        active=list(variables["ansible_play_hosts"]),
        pairs={name: pair_of(name, variables["groups"].get(group_of(hostvars, name, options), [])) for name in known},
        absent=options["state"] == "absent",
        hold=options["hold"],
        api="replication_api_url" in variables,
    )


def group_of(hostvars: Any, name: str, options: Mapping[str, Any]) -> str:
    """Return the replication_group of a host, that of the play where it has none of its own."""
    group = hostvars.raw_get(name).get("replication_group", options["group"])
    return hostvars[name]["replication_group"] if "{{" in group else group
