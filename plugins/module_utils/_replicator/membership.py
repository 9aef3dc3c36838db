# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans: the difference between the wanted and the actual list. Pure. PRIVATE to this collection.

Check mode returns such a plan and a real run carries it out, so both report the same.
"""

from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import UserStatus


class MembershipPlan(NamedTuple):
    """Sorted lists of names to put on the replicator's list and to take off it."""

    add: List[str]
    remove: List[str]


class ReplicationPlan(NamedTuple):
    """Sorted lists: names to ask for, and (name, reason) of those left alone."""

    requested: List[str]
    skipped: List[Tuple[str, str]]


def plan_present(
    listed: Iterable[str],
    wanted: Iterable[str],
    scope: Optional[Callable[[str], bool]] = None,
    duplicate_spellings: Iterable[str] = (),
) -> MembershipPlan:
    """Plan that the wanted names are on the list.

    :arg listed: names on the replicator's list now
    :arg wanted: names that are to be on it
    :arg scope: tells of a name whether it may only be on the list when it is wanted; no name is removed when None
    :arg duplicate_spellings: listed names that are another spelling of a wanted one
    """
    names = set(wanted)
    extra = {name for name in listed if scope and scope(name) and name not in names}
    return MembershipPlan(sorted(names.difference(listed)), sorted(extra.union(duplicate_spellings)))


def plan_absent(listed: Iterable[str], unwanted: Iterable[str]) -> MembershipPlan:
    """Plan that the unwanted names are not on the list."""
    return MembershipPlan([], sorted(set(unwanted).intersection(listed)))


def membership_diff(plan: MembershipPlan) -> Dict[str, str]:
    """Return the change as Ansible's diff: only the names that come and go, a line each."""
    return {
        "before_header": "replicator's list",
        "after_header": "replicator's list",
        "before": "".join(name + "\n" for name in plan.remove),
        "after": "".join(name + "\n" for name in plan.add),
    }


def plan_replication(
    statuses: Mapping[str, UserStatus],
    wanted: Iterable[str],
    max_age: Optional[int] = None,
    failed_only: bool = False,
) -> ReplicationPlan:
    """Plan which of the wanted users to ask for.

    :arg statuses: dict of UserStatus by name
    :arg max_age: leave users alone whose last sync succeeded less than so many seconds ago
    :arg failed_only: want only users on the list whose last sync failed
    """
    requested, skipped = [], []
    for name in sorted(set(wanted)):
        status = statuses.get(name)
        if failed_only and not (status and status.failed):
            continue
        since = status.successful_sync.age if status and not status.failed else None
        if max_age is not None and since is not None and since < max_age:
            # Not the age itself: check mode and the real run must say the same.
            skipped.append((name, "synced less than %d seconds ago" % max_age))
        else:
            requested.append(name)
    return ReplicationPlan(requested, skipped)


def replication_diff(plan: ReplicationPlan, full: bool = False) -> Dict[str, str]:
    """Return the requests as Ansible's diff: a line for each name that is queued."""
    suffix = " (full)\n" if full else "\n"
    return {
        "before_header": "replication requests",
        "after_header": "replication requests",
        "before": "",
        "after": "".join(name + suffix for name in plan.requested),
    }
