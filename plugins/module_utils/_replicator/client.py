# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of every transport to the replicator. PRIVATE to this collection."""

import errno
from typing import Collection, Dict, Iterable, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.rights import AS_ROOT
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    UserStatus,
)

# Cause and cure by the error of connecting to the replicator's socket.
CONNECTION_CURES = {
    errno.ENOENT: (
        "Dovecot is stopped, or the replicator's listener is not configured (its mode is 0 by default, and then there "
        "is no socket)",
        "check `systemctl status dovecot`, and give `service replicator { unix_listener replicator-doveadm { } }` a "
        "mode such as 0600, as the role mailops.dovecot_replication.replication does; if base_dir is elsewhere, give "
        "config_file or socket_path",
    ),
    errno.ECONNREFUSED: (
        "Dovecot is stopped, or the listener was taken out of the configuration and its socket file stayed behind",
        "start Dovecot, or configure the listener again",
    ),
    errno.EACCES: (
        "the socket lets in root, its owner, and its group where its mode is 0660",
        AS_ROOT + ", or as a member of that group, which replication_doveadm_socket gives the socket with its "
        '`mode: "0660"` and `group`',
    ),
}
WRONG_SERVICE = (
    "this is not the replicator's doveadm socket but another service's",
    "give the path of the socket named replicator-doveadm as socket_path",
)


class ReplicatorClient:
    """The replicator as the modules see it. Each transport is a subclass; all methods raise DovecotError.

    Names are exact: a caller has checked that they hold no wildcards.
    """

    def overview(self) -> Dict[str, int]:
        """Return the counts of the queue: a dict with the keys of ``protocol.OVERVIEW_KEYS``, ints."""
        raise NotImplementedError()

    def users(self, mask: str = "*") -> Dict[str, UserStatus]:
        """Return the entries that match the mask: a dict of UserStatus by name."""
        raise NotImplementedError()

    def names(self, mask: str = "*") -> Collection[str]:
        """Return the names of the entries that match the mask, a collection without duplicates."""
        return self.users(mask).keys()

    def dsyncs(self) -> List[DsyncSlot]:
        """Return the list of DsyncSlot: as many as have ever been used at once, none after a start."""
        raise NotImplementedError()

    def replicate(self, names: Iterable[str], priority: str) -> None:
        """Queue each name with priority ``low`` or ``high``; an unknown one is put on the list first.

        This is also how a user is added: ``ADD`` alone queues at no priority, and up to Dovecot 2.3.19 such users wait
        behind any failed one.
        """
        raise NotImplementedError()

    def remove(self, names: Iterable[str]) -> None:
        """Take each name off the list. A name that is not there (any more) is no error."""
        raise NotImplementedError()

    def start_over(self, name: str, priority: str) -> None:
        """Take a name off the list and queue it again, so that its next sync is a full one."""
        self.remove([name])
        self.replicate([name], priority)

    def problems(self, names: List[str]) -> Dict[str, str]:
        """Return why the last syncs of these users have failed, as far as this side knows: a dict of texts by name."""
        return {}

    def close(self) -> None:
        """Close the connection."""
