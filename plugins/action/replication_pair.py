# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, Optional

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _role
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._pair import decide
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import Side
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._strategy import require_together

LOOKING_MODULE = "mailops.dovecot_replication.node_info"
OPTIONS = {
    "observed": {"type": "dict"},
    "peer_host_keys": {"type": "list", "elements": "str", "default": []},
    "peer_version": {"type": "str", "default": ""},
}


class ActionModule(ActionBase):
    """Look at a host and decide what the role does to it."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        task_vars = task_vars or {}
        result = super().run(tmp, task_vars)
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        wanted, problems = _role.variables(self._templar.template, task_vars)
        if problems:
            return {**result, "failed": True, "msg": "The role's variables are not right: " + "; ".join(problems)}
        side = Side(
            wanted=wanted,
            observed=options["observed"] or {},
            name=task_vars["inventory_hostname"],
            members=tuple(task_vars["groups"].get(wanted["replication_group"], [])),
            previewing=self._task.check_mode or "__replication_plan" in task_vars,
            secret_is_text=not isinstance(self._value("replication_secret", task_vars), (bool, int, float)),
            peer_host_keys=tuple(options["peer_host_keys"]),
            peer_version=options["peer_version"],
        )
        require_together(self._task, [side.name, *side.others], task_vars)
        if not side.observed:
            observed = self._look(side, task_vars)
            if observed.get("failed"):
                return {**result, **observed}
            side = side._replace(observed=observed)
        if side.listens and side.other:
            side = side._replace(
                secret_is_steady=not side.secret_is_text
                or self._value("replication_secret", task_vars) == side.replication_secret,
                secret_is_shared=self._is_shared("replication_secret", side, task_vars),
            )
        if (side.over_tls or side.has_api) and side.other:
            # Of another host only what is needed: to put its variables together takes the controller 15 ms.
            side = side._replace(peer_calls_it=task_vars["hostvars"][side.other].get("replication_peer"))
        if side.other and side.replication_peer is None and not side.observed["peer_addresses"]:
            side = side._replace(ansible_calls_peer=task_vars["hostvars"][side.other].get("ansible_host"))
        pair = decide(side, _role.render)
        if pair.refused:
            # The other host of the pair compares what was observed with its own.
            told = {"refused": pair.refused, "observed": side.observed}
            return {**result, **told, "failed": True, "msg": pair.refused[0]["message"]}
        warnings = {"warnings": side.not_asked} if side.not_asked else {}
        return {**result, **pair._asdict(), **warnings, "changed": False, "observed": side.observed}

    def _value(self, name: str, task_vars: Dict[str, Any]) -> Any:
        return self._templar.template(task_vars.get(name))

    def _is_shared(self, name: str, side: Side, task_vars: Dict[str, Any]) -> bool:
        """Return whether the peer has the same value of a variable, true where that cannot be known.

        ``hostvars`` do not see what only this play sets. Where they tell this host another value than it has, they
        are no help for the peer, either.
        """
        hosts = task_vars["hostvars"]
        try:
            return hosts[side.other].get(name) == side.wanted[name] or hosts[side.name].get(name) != side.wanted[name]
        except AnsibleError:
            # A template that cannot be rendered fails on the host that it belongs to.
            return True

    def _look(self, side: Side, task_vars: Dict[str, Any]) -> Dict[str, Any]:
        """Return what the module observes on the host."""
        arguments = {
            "gather": ["host", "service"] if side.is_present else ["host"],
            "peer": side.peer or None,
            "system_user": side.replication_ssh_user,
            "config_file": side.config_file,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._execute_module(module_name=LOOKING_MODULE, module_args=given, task_vars=task_vars)
