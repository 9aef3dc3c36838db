# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a configuration is valid and does what is wanted, by what Dovecot says of it. PRIVATE to this collection."""

import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import iteration as userdb_iteration
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import placement
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source as config_source
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import DEFAULT_BASE_DIR
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.placement import Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration, origin
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.spelling import is_same

# Settings whose values may hold a secret, and what a value with one may contain. Too many rather than too few.
SECRET_SETTING = re.compile(r"pass|secret|key|nonce|token|header", re.IGNORECASE)
SECRET_VALUE = re.compile(r"pass|secret|token|://", re.IGNORECASE)
# Where other settings come in: ``$mail_plugins notify``.
VARIABLE = re.compile(r"(?:\A|\s)\$\w")
# Files of this name are Dovecot's own; others, such as dovecot-sql.conf.ext, are read by parts of it.
CONFIG_SUFFIX = ".conf"

PLUGINS_LACKING = (
    "mail_plugins should contain %s, but %s: a process that changes mail without these plugins starts no sync"
)

Scope = Tuple[str, Optional[str]]


class Demands(NamedTuple):
    """What must be true of a configuration beside that Dovecot can read it.

    :arg settings: dicts like the suboptions of dovecot_config's ``expect``
    :arg secrets: dict of settings to values, which are not told
    :arg forbidden: dicts of ``setting``, the name without its section, ``value_begins`` and ``because``
    :arg iteration: whether the userdbs must be able to list their users
    :arg files: paths of files whose every assignment must be in force
    :arg placed: whose plugins must be in force in each section
    """

    settings: Sequence[Dict[str, Any]]
    secrets: Optional[Dict[str, Any]]
    forbidden: Sequence[Dict[str, Any]]
    iteration: bool
    files: Sequence[str]
    placed: Optional[Settings] = None


def check(
    configuration: Configuration,
    demands: Demands,
    directory: str,
    config_dir: str,
    stale: Sequence[str] = (),
    before: Optional[Configuration] = None,
) -> List[str]:
    """Return what is wrong with a configuration as a list: doveconf's complaint, or what is not as demanded.

    :arg directory: where the configuration was read
    :arg config_dir: where it will be, when ``directory`` is a copy; the files of ``demands`` are below it
    :arg stale: files that will be others: what they override is not looked at. An include under another name of
        ``config_dir`` leads to them from the copy
    :arg before: the configuration that is in place, where ``configuration`` is a copy
    """
    if configuration.complaint is not None:
        return [configuration.complaint]
    problems = [
        "%s is not the given one; it is %s" % (name, _origin(configuration, name))
        for name in sorted(demands.secrets or {})
        if configuration.exact(name) != str((demands.secrets or {})[name])
    ]

    def locate(path: str) -> str:
        below = config_dir + "/"
        return os.path.join(directory, path[len(below) :]) if path.startswith(below) else path

    if demands.placed:
        lacking = placement.lacking(demands.placed, configuration, before or configuration)
        if lacking:
            problems.append(PLUGINS_LACKING % (" and ".join(demands.placed.plugins), ", ".join(lacking)))
    problems += _unmet(configuration, demands.settings)
    problems += _without_effect(configuration, demands, locate, stale)
    problems += _forbidden(demands.forbidden, configuration)
    if demands.iteration:
        problems += userdb_iteration.problems(configuration, locate)
    return problems


def _origin(configuration: Configuration, setting: str, protocol: Optional[str] = None) -> str:
    return origin(configuration.place(setting, protocol))


def _scopes(configuration: Configuration, expectation: Dict[str, Any]) -> List[Optional[str]]:
    """Return where an expectation counts: None for outside of protocol sections, and enabled protocols."""
    enabled = configuration.enabled_protocols()
    outside: List[Optional[str]] = [None] if expectation.get("outside", True) else []
    return outside + [name for name in expectation.get("protocols") or [] if name in enabled]


def _unmet(configuration: Configuration, expectations: Sequence[Dict[str, Any]]) -> List[str]:
    problems = []
    for expectation in expectations:
        setting, contains = expectation["setting"], expectation.get("contains")
        wrong = [
            scope
            for scope in _scopes(configuration, expectation)
            if not _is_met(expectation, configuration.value(setting, scope))
        ]
        if wrong:
            literal = "contain " + " ".join(contains) if contains else "be %r" % str(expectation["value"])
            wanted = expectation.get("wanted") or literal
            where = ", ".join(_told(configuration, setting, scope) for scope in wrong)
            problems.append("%s should %s, but %s%s" % (setting, wanted, where, _because(expectation.get("because"))))
    return problems


def _is_met(expectation: Dict[str, Any], value: str) -> bool:
    if expectation.get("contains"):
        return set(expectation["contains"]) <= set(value.split())
    if expectation.get("matches"):
        return bool(re.match(expectation["matches"], value))
    if expectation["setting"] == "base_dir":
        # Dovecot 2.4 prints it only where it is set.
        return os.path.realpath(expectation["value"]) == os.path.realpath(value or DEFAULT_BASE_DIR)
    return is_same(expectation["value"], value)


def _told(configuration: Configuration, setting: str, protocol: Optional[str]) -> str:
    inside = "inside protocol %s it is " % protocol if protocol else "it is "
    value = configuration.value(setting, protocol)
    text = "something else" if _is_secret(setting, value) else repr(value) if value else "empty"
    return "%s%s (%s)" % (inside, text, _origin(configuration, setting, protocol))


def _is_secret(setting: str, value: str) -> bool:
    # Credentials may be in a value such as that of a database.
    return bool(value) and bool(SECRET_SETTING.search(setting.split("/")[-1]) or SECRET_VALUE.search(value))


def _because(reason: Optional[str]) -> str:
    return ": " + reason if reason else ""


def _without_effect(configuration: Configuration, demands: Demands, locate: Any, stale: Sequence[str]) -> List[str]:
    """Return a problem for each assignment of the files that is not in force."""
    problems = []
    wanted: Dict[Scope, config_source.Assignment] = {}
    paths = {os.path.realpath(locate(path)): path for path in demands.files}
    for found in configuration.assignments:
        if os.path.realpath(found.file) in paths:
            # Of several in these files the last one counts.
            wanted[(found.setting, found.protocol)] = found
    read = {os.path.realpath(found.file) for found in configuration.assignments}
    for path in sorted(set(paths) - read):
        if _is_overlooked(configuration, path, paths[path]):
            problems.append("Dovecot does not read %s: no !include names it" % paths[path])
    for scope in _named(configuration, demands.settings):
        wanted.pop(scope, None)
    for setting, protocol in sorted(wanted, key=lambda scope: (wanted[scope].file, wanted[scope].line)):
        found = wanted[(setting, protocol)]
        deciding = configuration.written_last(setting, protocol)
        if deciding and os.path.realpath(deciding.file) in map(os.path.realpath, stale):
            continue
        if _counts(configuration, found) and not is_same(found.value, configuration.value(setting, protocol)):
            hidden = _is_secret(setting, found.value)
            problems.append(
                "%s should be %s, but %s%s%s"
                % (
                    setting,
                    "as written" if hidden else repr(found.value) if found.value else "empty",
                    _told(configuration, setting, protocol),
                    "" if configuration.place(setting, protocol) == found.place else ", not as in " + found.place,
                    _because(found.reason),
                )
            )
    return problems


def _named(configuration: Configuration, expectations: Sequence[Dict[str, Any]]) -> Set[Scope]:
    """Return what an expectation decides already."""
    return {
        (expectation["setting"], scope) for expectation in expectations for scope in _scopes(configuration, expectation)
    }


def _is_overlooked(configuration: Configuration, path: str, named: str) -> bool:
    """Tell whether a file that Dovecot does not read looks as if it should be: by its name, with settings in it."""
    if not named.endswith(CONFIG_SUFFIX) or configuration.mentions(named):
        return False
    # Those of files that it includes do not count.
    return any(found.file == path for found in config_source.read_assignments(path))


def _counts(configuration: Configuration, found: config_source.Assignment) -> bool:
    """Tell whether the value of an assignment can be compared with what Dovecot prints.

    It cannot where other settings come in by a variable, where Dovecot knows the setting by a newer name, and inside
    blocks without a name, which Dovecot prints in another order.
    """
    if found.protocol is not None and found.protocol not in configuration.enabled_protocols():
        return False
    return (
        "]" not in found.setting
        and not VARIABLE.search(found.value)
        and configuration.has(found.setting, found.protocol)
    )


def _forbidden(forbidden: Sequence[Dict[str, Any]], configuration: Configuration) -> List[str]:
    """Return a problem for each place where something is set that must not be, in whatever section it is.

    Where only some values must not be, what is in force counts.
    """
    problems = []
    for item in forbidden:
        because = _because(item.get("because"))
        if not item.get("value_begins"):
            named = [found for found in configuration.assignments if found.setting.split("/")[-1] == item["setting"]]
            problems += ["%s is set in %s%s" % (item["setting"], found.place, because) for found in named]
            continue
        for match, value in configuration.named(r"(?:.*/)?%s\Z" % re.escape(item["setting"])):
            if value.startswith(item["value_begins"]):
                told = _told(configuration, match.group(0), None)
                problems.append(
                    "%s should not begin with %s, but %s%s" % (match.group(0), item["value_begins"], told, because)
                )
    return problems
