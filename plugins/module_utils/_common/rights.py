# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""As whom a task runs, and what it lacks when that is not root. PRIVATE to this collection."""

import os
import pwd
import stat
from typing import Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError

AS_ROOT = "run the task as root (become: true)"
# With this mode Dovecot answers others than root and the socket's owner only about themselves; src/auth/main.c.
FOR_ALL_ABOUT_THEMSELVES = 0o666


def is_root() -> bool:
    return os.geteuid() == 0


def user_name() -> str:
    """Return the name of the user as whom this runs, its uid where it has no name."""
    try:
        return pwd.getpwuid(os.geteuid())[0]
    except KeyError:
        return "with uid %d" % os.geteuid()


def require_root(tried: str, why: str) -> None:
    """Raise DovecotError where this does not run as root.

    :arg tried: as DovecotError has it
    :arg why: what only root may do
    """
    if not is_root():
        raise DovecotError(tried, "the task runs as the user %s" % user_name(), why, AS_ROOT)


def require_writable(directory: str, tried: str) -> None:
    """Raise DovecotError where this user may not write into a directory."""
    if not is_root() and not os.access(directory, os.W_OK):
        raise DovecotError(tried, "the user %s may not write to %s" % (user_name(), directory), cure=AS_ROOT)


def kept_from_others(path: str) -> Optional[str]:
    """Return why Dovecot tells this user of no other accounts over auth-userdb, None where it does.

    :arg path: of the socket
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    if os.geteuid() in (0, status.st_uid) or stat.S_IMODE(status.st_mode) != FOR_ALL_ABOUT_THEMSELVES:
        return None
    return "the task runs as the user %s, and Dovecot tells of all accounts only to root" % user_name()
