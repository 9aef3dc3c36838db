# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import time
import uuid
from typing import Any, Dict, List, Mapping, Optional

from ansible.plugins.action import ActionBase

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _verification as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._report import show
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._strategy import require_together

OBSERVING_MODULE = "mailops.dovecot_replication.node_info"
STAGES = ("observed", "begun", "synced", "probed", "compared", "concluded")
OPTIONS = {
    "stage": {"type": "str", "required": True, "choices": list(STAGES)},
    "group": {"type": "str", "default": "dovecot_replication"},
    "config_file": {"type": "str"},
    "sample": {"type": "int", "default": 10},
    "all_accounts": {"type": "bool", "default": False},
    "require_iteration": {"type": "bool", "default": True},
    "probe_user": {"type": "str", "default": ""},
    "way": {"type": "list", "elements": "str", "default": []},
    "fail_on": {"type": "str", "default": "error", "choices": list(model.FAILING)},
}
# Options of this action that the module has, too.
OBSERVING = ("config_file", "sample", "require_iteration", "all_accounts")
# What the tasks of the role register.
SEEN, PEER_SEEN, OBSERVED, PROOF = (f"__replication_{name}" for name in ("seen", "peer_seen", "observed", "proof"))

# Whether the tasks are included by those that configure the host.
SETTING_UP = "__replication_setting_up"


class ActionModule(ActionBase):
    """Judge what the tasks of `verify` have found so far, and say what the next ones do."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        pair = model.pair_of(variables["inventory_hostname"], variables["groups"].get(options["group"], []))
        require_together(self._task, pair, variables)
        record = getattr(self, "_" + options["stage"])(options, variables)
        # A failed look at the host is a result already.
        result.update(record if isinstance(record, dict) else record._asdict())
        result["changed"] = False
        return result

    def _view(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.View:
        return view_of(options, variables, of_pair(options, variables), bool(self._task.check_mode))

    def _observed(self, options: Dict[str, Any], variables: Dict[str, Any]) -> Any:
        view = self._view(options, variables)
        own = view.observations[view.name]
        others = [seen for name, seen in view.observations.items() if name != view.name]
        accounts = model.unseen_accounts(own, others)
        if accounts:
            given = {name: options[name] for name in OBSERVING if options[name] is not None}
            arguments = {"gather": ["replication"], "accounts": accounts, **given}
            own = self._execute_module(module_name=OBSERVING_MODULE, module_args=arguments, task_vars=variables)
            if own.get("failed"):
                return own
            own = {key: value for key, value in own.items() if key != "invocation" and not key.startswith("_ansible_")}
            view = view._replace(observations={**view.observations, view.name: own})
        return model.observed(view)

    def _begun(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.Proof:
        token = f"{int(time.time())}-{uuid.uuid4().hex[:8]}"
        return model.begun(self._view(options, variables), options["probe_user"], token)

    def _synced(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.Proof:
        return model.synced(proof_in(variables), results_in(variables, "__replication_syncs"))

    def _probed(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.Proof:
        names = ("sent", "came", "asked", "came_late")
        results = [variables.get(f"__replication_{name}") or {} for name in names]
        return model.probed(proof_in(variables), options["way"], *results)

    def _compared(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.Proof:
        return model.compared(proof_in(variables), results_in(variables, "__replication_fingerprints"))

    def _concluded(self, options: Dict[str, Any], variables: Dict[str, Any]) -> model.Conclusion:
        known = of_pair(options, variables)
        view = view_of(options, variables, known, bool(self._task.check_mode))
        conclusion = model.concluded(view, proof_in(known[view.verifier]), options["fail_on"], int(time.time()))
        if view.name == view.verifier:
            show(conclusion.report)
        return conclusion


def proof_in(variables: Mapping[str, Any]) -> model.Proof:
    """Return the proof as far as the tasks of a host got."""
    return model.Proof.of(variables.get(PROOF) or {})


def results_in(variables: Mapping[str, Any], name: str) -> List[Mapping[str, Any]]:
    """Return the results of a loop, none where it was skipped."""
    return (variables.get(name) or {}).get("results") or []


def of_pair(options: Mapping[str, Any], variables: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    """Return the variables of each host of the pair, in its order.

    Those of another host take the controller 15 ms. Results of modules hold no templates, so nothing needs templating.
    """
    own = variables["inventory_hostname"]
    pair = model.pair_of(own, variables["groups"].get(options["group"], []))
    return {name: variables if name == own else variables["hostvars"].raw_get(name) for name in pair}


def view_of(
    options: Mapping[str, Any],
    variables: Mapping[str, Any],
    known: Mapping[str, Mapping[str, Any]],
    check_mode: bool,
) -> model.View:
    """Return what a host sees of the run at this stage.

    :arg known: variables by host of the pair
    """
    batch = variables["ansible_play_batch"]
    first = options["stage"] == "observed"
    observations = {}
    for member, facts in known.items():
        seen = observation_in(facts, first and member in batch)
        if member not in batch:
            seen = variables.get(PEER_SEEN) or seen
        if "hostname" in seen:
            observations[member] = seen
    previewing = check_mode or "__replication_plan" in variables
    setting_up = bool(variables.get(SETTING_UP))
    return model.View(variables["inventory_hostname"], list(known), batch, observations, previewing, setting_up)


def observation_in(variables: Mapping[str, Any], first: bool) -> Mapping[str, Any]:
    """Return the newest observation of a host, empty without one.

    :arg first: whether the host has been looked at once so far; what it knows from an earlier run is older
    """
    if first:
        return variables.get(SEEN) or {}
    return (variables.get(OBSERVED) or {}).get("observation") or {}
