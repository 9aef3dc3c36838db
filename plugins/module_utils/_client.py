# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every transport to the replicator offers. PRIVATE to this collection."""


class ReplicatorClient:
    """The replicator as the modules see it. A transport is a subclass; all raise DovecotError.

    Names are exact: a caller has checked that they hold no wildcards.
    """

    # What the modules return as ``transport``.
    transport = None

    def overview(self):
        """Return the counts of the queue: a dict with the keys of ``_protocol.OVERVIEW_KEYS``, ints."""
        raise NotImplementedError()

    def users(self, mask="*"):
        """Return the entries that match the mask: a dict of UserStatus by name."""
        raise NotImplementedError()

    def user(self, name):
        """Return the UserStatus of one name, or None. A name used as a mask matches itself, and perhaps others."""
        return self.users(name).get(name)

    def dsyncs(self):
        """Return the list of DsyncSlot: as many as have ever been used at once, none after a start."""
        raise NotImplementedError()

    def replicate(self, names, priority):
        """Queue each name with priority ``low`` or ``high``; an unknown one is put on the list first.

        This is also how a user is added: ``ADD`` alone queues at no priority, and up to Dovecot 2.3.19 such users wait
        behind any failed one.
        """
        raise NotImplementedError()

    def remove(self, names):
        """Take each name off the list. One that is not there (any more) is no error."""
        raise NotImplementedError()

    def close(self):
        """Let the connection go."""
