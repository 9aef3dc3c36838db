# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Dict, List, Mapping, Optional

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _adoption as model
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._strategy import require_together
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._verification import pair_of

CHANGING_MODULE = "mailops.dovecot_replication.mailbox_identity"
STAGES = ("adopted", "compared", "concluded")
OPTIONS = {
    "stage": {"type": "str", "required": True, "choices": list(STAGES)},
    "group": {"type": "str", "default": "dovecot_replication"},
    "config_file": {"type": "str"},
    "first": {"type": "bool", "default": True},
}
# What the tasks of the role register.
MAILBOXES, ADOPTION, SYNCS, FINGERPRINTS = (
    f"__replication_{name}" for name in ("mailboxes", "adoption", "adoption_syncs", "adoption_fingerprints")
)
# Mailboxes for each run of the module: some seconds of work, and then a sign of life.
PORTION = 2000
ALONE = (
    "%s is one of %d hosts of the group %s, and a pair has two. Next step: name the group of the pair in "
    "replication_group."
)
INCOMPLETE = (
    "%s is not in this run, or has failed in it, and mail is brought together only while both hosts of a pair answer. "
    "Next step: cure what has failed on %s, then run the playbook for both hosts, without --limit to one of them."
)


class ActionModule(ActionBase):
    """Plan from the mailboxes of both hosts, change those of this host, and say what the next tasks do."""

    def run(self, tmp: Optional[str] = None, task_vars: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        result = super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, options = self.validate_argument_spec(argument_spec=OPTIONS)
        pair = pair_of(variables["inventory_hostname"], variables["groups"].get(options["group"], []))
        require_together(self._task, pair, variables)
        known = of_pair(options, variables)
        result["changed"] = False
        if options["stage"] == "adopted":
            self._adopt(result, options, known, variables)
        elif options["stage"] == "compared":
            adoption = adoption_of(variables)
            leading = known[adoption.leader]
            compared = model.compared(adoption, results_in(leading, SYNCS), results_in(leading, FINGERPRINTS))
            result.update(compared._asdict(), goes_on=model.goes_on(compared))
        else:
            adoption = adoption_of(variables)
            failure = model.failure(adoption, adoption_of(known[adoption.leader]))
            result.update(adoption._replace(failure=failure)._asdict(), goes_on=False)
        return result

    def _adopt(
        self,
        result: Dict[str, Any],
        options: Mapping[str, Any],
        known: Mapping[str, Mapping[str, Any]],
        variables: Mapping[str, Any],
    ) -> None:
        name = variables["inventory_hostname"]
        plan = model.planned({host: facts[MAILBOXES]["users"] for host, facts in known.items()})
        changes = plan.changes[name]
        results = []
        for start in range(0, len(changes), PORTION):
            if start:
                Display().display(f"{name}: {start} of {len(changes)} mailboxes adopted", stderr=True)
            entries = [change._asdict() for change in changes[start : start + PORTION]]
            given = {"config_file": options["config_file"]} if options["config_file"] else {}
            arguments = {"mailboxes": entries, **given}
            results.append(
                self._execute_module(module_name=CHANGING_MODULE, module_args=arguments, task_vars=dict(variables))
            )
            if results[-1].get("failed") and "failed_mailboxes" not in results[-1]:
                break
        before = None if options["first"] else adoption_of(variables)
        adoption = model.begun(before, name, plan, results)
        result.update(adoption._asdict(), goes_on=False, changed=any(part.get("changed") for part in results))
        result["diff"] = [part["diff"] for part in results if part.get("diff")]


def of_pair(options: Mapping[str, Any], variables: Mapping[str, Any]) -> Dict[str, Mapping[str, Any]]:
    """Return the variables of both hosts of the pair, in its order; fail where there is no pair at work."""
    own = variables["inventory_hostname"]
    pair = pair_of(own, variables["groups"].get(options["group"], []))
    if len(pair) != 2:
        raise AnsibleActionFail(ALONE % (own, len(pair), options["group"]))
    for member in pair:
        if member not in variables["ansible_play_batch"]:
            raise AnsibleActionFail(INCOMPLETE % (member, member))
    # Results of modules hold no templates, and templating would look for some in each name of a long list.
    return {name: variables if name == own else variables["hostvars"].raw_get(name) for name in pair}


def adoption_of(variables: Mapping[str, Any]) -> model.Adoption:
    """Return what a host knows so far."""
    return model.Adoption.of(variables.get(ADOPTION) or {})


def results_in(variables: Mapping[str, Any], name: str) -> List[Mapping[str, Any]]:
    """Return the results of a loop, none where it was skipped."""
    return (variables.get(name) or {}).get("results") or []
