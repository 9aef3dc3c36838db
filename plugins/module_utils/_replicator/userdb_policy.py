# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names checked against the userdb, before anything is changed. PRIVATE to this collection."""

from typing import Collection, Dict, List, Set

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    TaskFailed,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import (
    differing_in_case,
    enumerated,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import Accounts
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import (
    reason_for_dropping,
)

UNKNOWN = (
    "The userdb does not have %s; nothing was changed. Create the account (on both hosts) first, correct the name, or "
    "set check_userdb to false. `doveadm user NAME` shows what Dovecot knows."
)
GONE = (
    " On the replicator's list is still %s: deleted or renamed since. Of a deleted user nothing is to be synced, and "
    "replicator_user with `state: absent` takes the name off the list. Of a renamed user, give the new name."
)
NOREPLICATE = (
    "The userdb field noreplicate is set for %s, so the replicator would drop them; nothing was changed. Remove the "
    "field (on both hosts), leave out the names, or set check_userdb to false. On Dovecot 2.4 it is not the field, but "
    "replication_excluded_users of the role."
)


def known_to_userdb(userdb: Accounts, names: Collection[str], listed: Collection[str] = ()) -> List[str]:
    """Return the names as the userdb spells them, sorted; raise TaskFailed when it lacks one.

    :arg listed: names on the replicator's list, where that is known
    """
    found = userdb.find(names)
    unknown = sorted(set(names).difference(found))
    if unknown:
        gone = sorted(set(unknown).intersection(listed))
        text = UNKNOWN % enumerated(unknown) + (GONE % enumerated(gone) if gone else "")
        raise TaskFailed(text, unknown_users=unknown)
    return sorted(set(found.values()))


def refuse_noreplicate(userdb: Accounts, names: Collection[str]) -> None:
    """Raise TaskFailed when the userdb keeps one of the names from being replicated."""
    accounts = userdb.accounts(names)
    excluded = sorted(name for name in names if name in accounts and accounts[name].noreplicate)
    if excluded:
        raise TaskFailed(NOREPLICATE % enumerated(excluded), noreplicate_users=excluded)


def duplicate_spellings(userdb: Accounts, listed: Collection[str], names: Collection[str]) -> Set[str]:
    """Return the listed names that are not among the names, but another spelling of the account of one.

    The userdb is only asked when a listed name differs from one of the names in nothing but case.
    """
    candidates = differing_in_case(listed, names)
    if not candidates:
        return set()
    spelt = userdb.find(candidates.union(names))
    wanted = {spelt.get(name, name) for name in names}
    return {name for name in candidates if spelt.get(name) in wanted}


def reasons_for_dropping(userdb: Accounts, names: Collection[str]) -> Dict[str, str]:
    """Return why the replicator has dropped each of the names; an empty dict where the userdb does not answer."""
    try:
        accounts = userdb.accounts(names)
    except DovecotError:
        return {}
    return {name: reason_for_dropping(accounts.get(name)) for name in names}
