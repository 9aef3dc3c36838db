# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of the system, by name and by number. PRIVATE to this collection."""

import grp
import pwd

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError


def uid_of(name: str) -> int:
    """Return the number of a user; raise DovecotError without one."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise _missing("user", name) from None


def gid_of(name: str) -> int:
    """Return the number of a group; raise DovecotError without one."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise _missing("group", name) from None


def user_name(uid: int) -> str:
    """Return the name of a user, the number as text where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, the number as text where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _missing(what: str, name: str) -> DovecotError:
    return DovecotError(
        "Looking for the %s %s" % (what, name),
        "there is no such %s on this host" % what,
        cure="create it first, or name the one that exists",
    )
