# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the configured userdbs can list their users, as far as the configuration tells. PRIVATE to this collection.

Dovecot fills the replicator's list by asking the userdbs for all users. One that cannot answer makes it replicate only
users whose mail changes, without a word but in the log.
"""

import os
import pwd
import re

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _config_source

# Those without iterate_init in src/auth/userdb-*.c; Dovecot passes over them.
CANNOT_LIST = ("static", "prefetch", "checkpassword", "nss")
SYSTEM, LDAP = "passwd", "ldap"
NOBODY = "nobody"
NUMBER = re.compile(r"userdb\[(\d+)\]/(\w+)\Z")


def problems(doveconf, assignments, locate=str):
    """Return what keeps the userdbs from listing just the users that have mail, a list of texts.

    :arg assignments: those of the configuration files, to name the place
    :arg locate: function from the path of a file to where it is read, for a configuration that is not in place yet
    """
    configured = userdbs(doveconf.run("userdb")[1])
    drivers = [userdb.get("driver") for userdb in configured]
    found = _unlistable(drivers, assignments)
    found += [
        _unspecified(userdb.get("args", ""))
        for userdb in configured
        if userdb.get("driver") == LDAP and not _iterates(locate(userdb.get("args", "")))
    ]
    if SYSTEM in drivers:
        limits = [int(doveconf.get(name) or 0) for name in ("first_valid_uid", "last_valid_uid")]
        found += _lists_nobody(limits[0], limits[1], assignments)
    return found


def userdbs(text):
    """Return the userdbs in what ``doveconf userdb`` prints, a list of dicts."""
    blocks = {}
    for assignment in _config_source.parse(text):
        match = NUMBER.match(assignment.setting)
        if match:
            blocks.setdefault(int(match.group(1)), {})[match.group(2)] = assignment.value
    return [blocks[number] for number in sorted(blocks)]


def _unlistable(drivers, assignments):
    if not drivers:
        return ["there is no userdb, so Dovecot knows no users"]
    if any(driver not in CANNOT_LIST for driver in drivers):
        return []
    return [
        "the userdb with driver %s%s cannot list its users: only mailboxes whose mail changes would ever be "
        "replicated. Use a userdb that can (passwd-file, sql or ldap), or accept that with "
        "replication_require_iteration: false" % (" and ".join(drivers), _place(assignments, drivers))
    ]


def _iterates(path):
    """Tell whether the file of an LDAP userdb says which entries are users, one that cannot be read included."""
    if not os.access(path, os.R_OK):
        return True
    return any(found.setting == "iterate_filter" for found in _config_source.read_assignments(path))


def _unspecified(path):
    return (
        "the userdb with driver ldap lists the entries with objectClass=posixAccount by their uid, since %s sets no "
        "iterate_filter; when there are none it lists nobody and says nothing. Set replication_iterate with `attrs` "
        "and `filter`, to these where they are right (uid=user)" % path
    )


def _lists_nobody(first_uid, last_uid, assignments):
    """Return a problem when the system's users include ``nobody``, who has no mail and whose sync always fails."""
    try:
        uid = pwd.getpwnam(NOBODY).pw_uid
    except KeyError:
        return []
    if uid < first_uid or last_uid and uid > last_uid:
        return []
    return [
        "the userdb with driver %s%s lists the system user %s (uid %d) as a mailbox, whose sync would fail for ever. "
        "Where mail is not the system users', remove that userdb; else set replication_last_valid_uid: %d, when no "
        "user with mail has a higher uid" % (SYSTEM, _place(assignments, [SYSTEM]), NOBODY, uid, uid - 1)
    ]


def _place(assignments, drivers):
    places = [
        assignment.place
        for assignment in assignments
        if NUMBER.match(assignment.setting) and assignment.setting.endswith("/driver") and assignment.value in drivers
    ]
    return " (%s)" % ", ".join(places) if places else ""
