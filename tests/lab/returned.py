# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether modules return what their RETURN describes, key by key."""

import ast
import copy
import functools
from pathlib import Path

import yaml

COLLECTION = "mailops.dovecot_replication"
MODULES = Path(__file__).resolve().parents[2] / "plugins" / "modules"
# What Ansible and the tests add to a result.
OF_ANSIBLE = {
    *["changed", "failed", "msg", "invocation", "diff", "warnings", "deprecations", "exception", "attempts", "retries"],
    *["changed_when_result", "failed_when_result", "failed_when_suppressed_exception"],
    *["skipped", "skip_reason", "skipped_reason"],
    # Of a task in the background.
    *["ansible_job_id", "started", "finished", "results_file", "stdout", "stdout_lines", "stderr", "stderr_lines"],
    *["ansible_facts", "ansible_stats", "item", "ansible_loop_var", "shown"],
}
# How the action plugins wait in slices; see plugin_utils/_waiting_action.py.
BETWEEN_SLICES = {"waiting"}
# What a module passes on of another one: its RETURN, or a key in that.
PASSED_ON = {
    ("replication_pair", "observed"): ("node_info", None),
    ("replication_verify", "observation"): ("node_info", None),
    ("replication_status", "overview"): ("replicator_info", "overview"),
    ("replication_status", "summary"): ("replicator_info", "summary"),
    ("node_info", "replicator.summary"): ("replicator_info", "summary"),
    ("replication_status", "dsyncs"): ("replicator_info", "dsyncs"),
    ("replication_status", "users"): ("replicator_info", "users"),
    ("replication_status", "asked_users"): ("replicator_info", "users"),
}
# Modules that return what another one has returned, and that one.
PASSING_ON = dict([("replication_configure", "dovecot_config")])
WHOLE_RESULTS = {key for (_module, key), (_other, part) in PASSED_ON.items() if part is None}
ALWAYS = ("success", "always")
TYPES = {
    "str": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "list": list,
    "dict": dict,
}


@functools.cache
def described(name):
    """The RETURN of a module, a dict."""
    name = PASSING_ON.get(name, name)
    for statement in ast.parse((MODULES / f"{name}.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "RETURN":
            return yaml.safe_load(statement.value.value)
    raise KeyError(f"{name} has no RETURN")


def differences(name, result):
    """What a result and the RETURN of its module do not have in common, a list of lines.

    :arg result: of the module; where it failed, or the play says whether it did, nothing needs to be there
    """
    if "censored" in result:
        return []
    required = not result.get("failed") and not {"failed_when_result", *BETWEEN_SLICES}.intersection(result)
    return [f"{name}: {line}" for line in _of_dict("", with_passed_on(name), own_keys(result), required)]


def with_passed_on(name):
    """The RETURN of a module, with the keys of what it passes on."""
    documented = copy.deepcopy(described(name))
    for (module, key), (other, part) in PASSED_ON.items():
        if module == name:
            *outer, last = key.split(".")
            place = functools.reduce(lambda about, step: about[step]["contains"], outer, documented)
            place[last]["contains"] = described(other)[part]["contains"] if part else with_passed_on(other)
    return documented


def own_keys(result):
    """The keys of a result that are the module's."""
    added = OF_ANSIBLE | BETWEEN_SLICES
    return {key: value for key, value in result.items() if key not in added and not key.startswith("_ansible_")}


def _of_dict(path, documented, values, required):
    for key in sorted(set(values).difference(documented)):
        yield f"{path}{key} is returned and not described"
    for key, about in documented.items():
        if key in values:
            yield from _of_value(f"{path}{key}", about, values[key])
        # A key without a condition of its own is there whenever the dict is.
        elif required and about.get("returned", "success") in ALWAYS:
            yield f"{path}{key} is described and not returned"


def _of_value(path, about, value):
    if value is None:
        return
    # A bool is an int for Python.
    if not isinstance(value, TYPES[about["type"]]) or (isinstance(value, bool) and about["type"] != "bool"):
        yield f"{path} is described as {about['type']}, and is {value!r}"
    elif "contains" in about:
        for part in value if isinstance(value, list) else [value]:
            yield from _of_dict(f"{path}.", about["contains"], own_keys(part) if path in WHOLE_RESULTS else part, True)
    elif about.get("elements") not in (None, "dict", "list"):
        for part in value:
            yield from _of_value(f"{path}[]", {"type": about["elements"]}, part)


def check(action, result):
    """Fail where a result differs from what the module describes; of a loop, each item's.

    :arg action: the name in a task; of a module that is not of this collection nothing is known
    """
    namespace, _dot, name = action.rpartition(".")
    if namespace == COLLECTION:
        found = [line for part in result.get("results", [result]) for line in differences(name, part)]
        assert not found, "\n".join(found)
