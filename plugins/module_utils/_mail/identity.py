# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of the GUIDs of mailboxes. Pure. PRIVATE to this collection."""

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError

GUID = re.compile(r"[0-9a-f]{32}\Z")
ADOPTED_ALREADY, CHANGED_SINCE, GONE = "adopted already", "changed since", "gone"


class Change(NamedTuple):
    """A mailbox and what becomes of it.

    :arg was: its GUID when the change was decided
    :arg guid: the GUID that it gets
    :arg uidvalidity: the UIDVALIDITY that it gets, None where that stays
    """

    username: str
    name: str
    was: str
    guid: str
    uidvalidity: Optional[int] = None

    def arguments(self) -> List[str]:
        """Return the arguments of ``doveadm mailbox update``."""
        uidvalidity = [] if self.uidvalidity is None else ["--uid-validity", str(self.uidvalidity)]
        return ["--mailbox-guid", self.guid] + uidvalidity + ["--", self.name]

    def place(self) -> str:
        """Return the mailbox as messages name it."""
        return "%s of %s" % (self.name, self.username)

    def described(self) -> Dict[str, str]:
        """Return the change as the module mailbox_identity does."""
        return dict(username=self.username, name=self.name, was=self.was, guid=self.guid)


def changes_in(entries: Iterable[Mapping[str, Any]]) -> List[Change]:
    """Return the changes in an option, sorted; raise DovecotError for what is none."""
    changes = set()
    for entry in entries:
        try:
            uidvalidity = entry.get("uidvalidity")
            username, name, was, guid = (str(entry[key]) for key in ("username", "name", "was", "guid"))
            change = Change(username, name, was, guid, None if uidvalidity is None else int(uidvalidity))
        except (KeyError, ValueError) as error:
            raise DovecotError("Reading mailboxes", "%r in %r" % (error, dict(entry))) from error
        if not GUID.match(change.guid):
            raise DovecotError("Reading mailboxes", "%r is no GUID, which has 32 digits from 0 to f" % change.guid)
        changes.add(change)
    return sorted(changes, key=lambda change: change[:4])


def assorted(
    changes: Iterable[Change], found: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> Tuple[List[Change], List[Tuple[Change, str]]]:
    """Return the changes that are still to be made, and the others with the reason.

    :arg found: what ``Mail.mailboxes`` returns
    """
    wanted, skipped = [], []
    for change in changes:
        guid = found.get(change.username, {}).get(change.name, {}).get("guid")
        if guid == change.was:
            wanted.append(change)
        else:
            reason = GONE if guid is None else ADOPTED_ALREADY if guid == change.guid else CHANGED_SINCE
            skipped.append((change, reason))
    return wanted, skipped


def identity_diff(changes: Iterable[Change]) -> Dict[str, str]:
    """Return what changes as Ansible shows it."""
    before, after = [], []
    for change in changes:
        before.append("%s: GUID %s\n" % (change.place(), change.was))
        kept = "" if change.uidvalidity is None else ", UIDVALIDITY %d" % change.uidvalidity
        after.append("%s: GUID %s%s\n" % (change.place(), change.guid, kept))
    header = "mailboxes made on both hosts"
    return dict(before_header=header, after_header=header, before="".join(before), after="".join(after))
