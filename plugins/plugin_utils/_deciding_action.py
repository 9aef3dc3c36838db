# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding what the role does to a host, for the actions of the role that do. PRIVATE to this collection."""

from typing import Any, Dict, Mapping, Sequence

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _role
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._pair import decide
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import Side
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._strategy import require_together

LOOKING_MODULE = "mailops.dovecot_replication.node_info"


class DecidingAction(ActionBase):
    """An action of the role, whose variables are the options."""

    def decision(
        self,
        task_vars: Mapping[str, Any],
        observed: Mapping[str, Any],
        peer: Mapping[str, Any],
        peer_host_keys: Sequence[str] = (),
    ) -> Dict[str, Any]:
        """Return what the role does to the host, a Pair as a dict, or why it does nothing, as the result of a task.

        :arg observed: what node_info has returned of the host, empty to look at it now
        :arg peer: the same of the other host, empty where that is not known
        """
        wanted, problems = _role.variables(self._templar.template, task_vars)
        if problems:
            return {"failed": True, "msg": "The role's variables are not right: " + "; ".join(problems)}
        side = Side(
            wanted=wanted,
            observed=observed,
            name=task_vars["inventory_hostname"],
            members=tuple(task_vars["groups"].get(wanted["replication_group"], [])),
            previewing=self._task.check_mode or "__replication_plan" in task_vars,
            secret_is_text=not isinstance(self.value("replication_secret", task_vars), (bool, int, float)),
            peer_host_keys=tuple(peer_host_keys),
            peer_observed=peer,
        )
        require_together(self._task, [side.name, *side.others], task_vars)
        if not side.observed:
            observed = self._look(side, task_vars)
            if observed.get("failed"):
                return dict(observed)
            side = side._replace(observed=observed)
        if side.listens and side.other:
            side = side._replace(
                secret_is_steady=not side.secret_is_text
                or self.value("replication_secret", task_vars) == side.replication_secret,
                secret_is_shared=_is_shared("replication_secret", side, task_vars),
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
            return {**told, "failed": True, "msg": pair.refused[0]["message"]}
        warnings = {"warnings": side.not_asked} if side.not_asked else {}
        return {**pair._asdict(), **warnings, "observed": side.observed}

    def value(self, name: str, task_vars: Mapping[str, Any]) -> Any:
        """Return the value of a variable, None where it is not set."""
        return self._templar.template(task_vars.get(name))

    def _look(self, side: Side, task_vars: Mapping[str, Any]) -> Dict[str, Any]:
        """Return what the module observes on the host."""
        arguments = {
            "gather": ["host", "service"] if side.is_present else ["host"],
            "peer": side.peer or None,
            "system_user": side.replication_ssh_user,
            "config_file": side.config_file,
        }
        given = {name: value for name, value in arguments.items() if value is not None}
        found: Dict[str, Any] = self._execute_module(module_name=LOOKING_MODULE, module_args=given, task_vars=task_vars)
        return found


def observed_of(host: str, task_vars: Mapping[str, Any]) -> Dict[str, Any]:
    """Return what this play has observed of another host, empty where it was not looked at."""
    decision = task_vars["hostvars"].raw_get(host).get("__replication_decision") if host else None
    found: Dict[str, Any] = (decision or {}).get("observed") or {}
    return found


def _is_shared(name: str, side: Side, task_vars: Mapping[str, Any]) -> bool:
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
