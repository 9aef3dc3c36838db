# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask Dovecot whether a configuration is valid and does what is wanted. PRIVATE to this collection."""

import os
from collections import namedtuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _config_source, _iteration

# Protocol sections that count although the setting `protocols` never names them.
ALWAYS_ENABLED = ("doveadm", "lda")

# What must be true of a configuration beside that Dovecot can read it.
#   settings: list of dicts like the suboptions of dovecot_config's ``expect``
#   secrets: dict of settings to values, which are not told
#   forbidden: list of dicts of ``setting``, the name without its section, and ``because``
#   iteration: whether the userdbs must be able to list their users
Demands = namedtuple("Demands", "settings secrets forbidden iteration")


def check(doveconf, main_file, demands, config_dir=None):
    """Return what is wrong with a configuration as a list: doveconf's complaint, or what is not as demanded.

    :arg doveconf: a Doveconf for main_file
    :arg config_dir: where the configuration will be, when main_file is in a copy of that directory
    """
    rc, dummy, err = doveconf.run("-n")
    if rc != 0:
        return [err.strip() or "doveconf ended with status %s" % rc]
    assignments = _config_source.read_assignments(main_file)
    problems = []
    for name in sorted(demands.secrets or {}):
        if doveconf.get(name) != str(demands.secrets[name]):
            problems.append("%s is not the given one; it is %s" % (name, _origin(assignments, name)))
    enabled = None
    for expectation in demands.settings:
        scopes = [None] if expectation.get("outside", True) else []
        if expectation.get("protocols"):
            if enabled is None:
                enabled = doveconf.get("protocols").split()
            scopes += [name for name in expectation["protocols"] if name in enabled or name in ALWAYS_ENABLED]
        wrong = [
            (scope, value)
            for scope, value in ((scope, doveconf.get(expectation["setting"], scope)) for scope in scopes)
            if not _is_met(expectation, value)
        ]
        if wrong:
            problems.append(_unmet(expectation, wrong, assignments))
    problems += _forbidden(demands.forbidden, assignments)
    if demands.iteration:
        copy = os.path.dirname(main_file)
        below = (config_dir or copy) + "/"
        problems += _iteration.problems(
            doveconf,
            assignments,
            lambda path: os.path.join(copy, path[len(below) :]) if path.startswith(below) else path,
        )
    return problems


def _origin(assignments, setting, protocol=None):
    found = _config_source.last(assignments, setting, protocol)
    return "set in %s" % found.place if found else "Dovecot's default, as no file sets it"


def _is_met(expectation, value):
    if expectation.get("contains"):
        return set(expectation["contains"]) <= set(value.split())
    return value == expectation["value"]


def _unmet(expectation, wrong, assignments):
    setting = expectation["setting"]
    where = ", ".join(
        "%s%s (%s)"
        % (
            "inside protocol %s it is " % scope if scope else "it is ",
            repr(value.strip()) if value else "empty",
            _origin(assignments, setting, scope),
        )
        for scope, value in wrong
    )
    if expectation.get("contains"):
        text = "%s should contain %s, but %s" % (setting, " ".join(expectation["contains"]), where)
    else:
        text = "%s should be %r, but %s" % (setting, str(expectation["value"]), where)
    return text + (": " + expectation["because"] if expectation.get("because") else "")


def _forbidden(forbidden, assignments):
    """Return a problem for each place where something is set that must not be, in whatever section it is."""
    return [
        "%s is set in %s%s" % (item["setting"], found.place, ": " + item["because"] if item.get("because") else "")
        for item in forbidden
        for found in assignments
        if found.setting.split("/")[-1] == item["setting"]
    ]


def listeners(doveconf):
    """Return the paths of the UNIX sockets and FIFOs that a configuration has Dovecot make, a set."""
    rc, out, dummy = doveconf.run("service")
    if rc != 0:
        return set()
    found = _config_source.listeners(_config_source.parse(out), doveconf.base_dir())
    return set(path for dummy, path in found)
