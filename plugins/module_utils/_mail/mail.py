# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of every way to the mail. PRIVATE to this collection."""

from typing import Any, Dict, List, NamedTuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mailboxes import Mailboxes
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.connections import Connections

# The errors of reading rows that are none.
NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
CURE = "run `doveadm mailbox status -u USER all '*'` for that user and look at Dovecot's log"


class Listing(NamedTuple):
    """Which mailboxes users have.

    :arg mailboxes: a dict of user to mailbox to a dict of IDENTITY_FIELDS: ``guid`` is a text, the others are ints
    :arg problems: why the mail of a user cannot be read, by user, who has no mailboxes then
    """

    mailboxes: Dict[str, Dict[str, Dict[str, Any]]]
    problems: Dict[str, str]


class Mail:
    """The mail of users who exist. Raises DovecotError.

    A subclass implements ``read``. The other methods need doveadm on the host itself; where a subclass has none of
    them, they raise the DovecotError that says so.
    """

    def read(self, names: List[str]) -> Mailboxes:
        """Return the Mailboxes of the users with all their messages, or why some cannot be read."""
        raise NotImplementedError()

    def mailboxes(self, names: List[str]) -> Listing:
        """Return which mailboxes the users have."""
        raise _only_doveadm("Listing mailboxes")

    def search(self, name: str, query: List[str]) -> List[str]:
        """Return the UIDs of a user's messages in INBOX that match a query, none without an INBOX."""
        raise _only_doveadm("Searching mail")

    def save(self, name: str, mail: str) -> None:
        """Put a mail into a user's INBOX as a delivery would: the replicator is told of it."""
        raise _only_doveadm("Saving a mail")

    def expunge(self, name: str, query: List[str]) -> None:
        """Remove a user's messages in INBOX that match a query."""
        raise _only_doveadm("Removing mail")


def _only_doveadm(tried: str) -> DovecotError:
    return DovecotError(
        tried, "the transport http only reads fingerprints", cure="run the task on the host itself, without api_url"
    )


def mail_of(connections: Connections) -> Mail:
    """Return the mail of the Dovecot of the Connections, through their transport; doveadm stands in for ``socket``."""
    if connections.transport == "http":
        # Imported only where it is used, as http.client and ssl take their time.
        from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.http_mail import HttpMail

        return HttpMail(connections.api)
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.doveadm_mail import DoveadmMail

    version = parse_version(connections.doveconf.version() or "") or ()
    return DoveadmMail(connections.run_command, connections.doveadm(), connections.printed, version)
