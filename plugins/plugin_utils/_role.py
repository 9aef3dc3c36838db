# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role's variables and templates, as its files have them. PRIVATE to this collection.

``meta/argument_specs.yml`` is the one source of what a variable may be. It is read when this is imported, which Ansible
does once, before it forks a process for each host. So are the long templates compiled.
"""

from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Tuple

import jinja2
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ROLE = Path(__file__).resolve().parents[2] / "roles" / "replication"
# Keys of an option that mean nothing to the validator.
FOR_READERS = ("description", "version_added")


def _specification(entry_point: str) -> Dict[str, Any]:
    with open(ROLE / "meta" / "argument_specs.yml", encoding="utf-8") as stream:
        specs = yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return _for_validator(specs["argument_specs"][entry_point]["options"])


def _for_validator(options: Dict[str, Any]) -> Dict[str, Any]:
    found = {}
    for name, spec in options.items():
        # A default is the role's; a path is one of the host, whose home directories are not those of the controller.
        kept = {key: value for key, value in spec.items() if key not in (*FOR_READERS, "default")}
        if kept.get("type") == "path":
            kept["type"] = "str"
        if kept.get("elements") == "path":
            kept["elements"] = "str"
        if "options" in kept:
            kept["options"] = _for_validator(kept["options"])
        found[name] = kept
    return found


OPTIONS = _specification("main")
VALIDATOR = ArgumentSpecValidator(OPTIONS)
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(ROLE / "templates"),
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    # Configuration files of Dovecot, which know no markup.
    autoescape=False,  # noqa: S701
)
for _long in ("replication.conf.j2", "replication-2.4.conf.j2"):
    TEMPLATES.get_template(_long)


def variables(template: Callable[[Any], Any], available: Mapping[str, Any]) -> Tuple[Dict[str, Any], List[str]]:
    """Return the role's variables as the role takes them, None where one is not set, and what is wrong with them.

    :arg template: turns what a variable is written as into its value
    :arg available: variables as they are written
    """
    given = {name: template(available[name]) for name in OPTIONS if name in available}
    result = VALIDATOR.validate(given)
    return result.validated_parameters, result.error_messages


def render(name: str, side: Any) -> str:
    """Return the text of a template of the role, which sees a Side as ``side``."""
    return TEMPLATES.get_template(name).render(side=side)
