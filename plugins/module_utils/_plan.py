# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted and what is there to what is to be done. Pure. PRIVATE to this collection.

Check mode returns such a plan and a real run carries it out, so both report the same.
"""

from collections import namedtuple

# Sorted lists of names to put on the replicator's list and to take off it.
MembershipPlan = namedtuple("MembershipPlan", ["add", "remove"])

# ``requested``: sorted list of names. ``skipped``: sorted list of (name, reason).
ReplicationPlan = namedtuple("ReplicationPlan", ["requested", "skipped"])


def plan_present(listed, wanted, scope=None, doubles=()):
    """Plan that the wanted names are on the list.

    :arg listed: names on the replicator's list now
    :arg wanted: names that are to be on it
    :arg scope: tells of a name whether it may only be on the list when it is wanted; no name is removed when None
    :arg doubles: listed names that are another spelling of a wanted one
    """
    wanted = set(wanted)
    extra = {name for name in listed if scope and scope(name) and name not in wanted}
    return MembershipPlan(sorted(wanted.difference(listed)), sorted(extra.union(doubles)))


def plan_absent(listed, unwanted):
    """Plan that the unwanted names are not on the list."""
    return MembershipPlan([], sorted(set(unwanted).intersection(listed)))


def membership_diff(plan):
    """Return the change as Ansible's diff: only the names that come and go, a line each."""
    return {
        "before_header": "replicator's list",
        "after_header": "replicator's list",
        "before": "".join(name + "\n" for name in plan.remove),
        "after": "".join(name + "\n" for name in plan.add),
    }


def plan_replication(statuses, wanted, max_age=None, failed_only=False):
    """Plan which of the wanted users to ask for.

    :arg statuses: dict of UserStatus by name
    :arg max_age: leave alone whose last sync succeeded less than so many seconds ago
    :arg failed_only: want only users on the list whose last sync failed
    """
    requested, skipped = [], []
    for name in sorted(set(wanted)):
        status = statuses.get(name)
        if failed_only and not (status and status.failed):
            continue
        since = status.successful_sync.age if status and not status.failed else None
        if max_age is not None and since is not None and since < max_age:
            # Not the age itself: a check run and the real one are to say the same.
            skipped.append((name, "synced less than %d seconds ago" % max_age))
        else:
            requested.append(name)
    return ReplicationPlan(requested, skipped)


def replication_diff(plan, full=False):
    """Return the requests as Ansible's diff: a line for each name that is queued."""
    suffix = " (full)\n" if full else "\n"
    return {
        "before_header": "replication requests",
        "after_header": "replication requests",
        "before": "",
        "after": "".join(name + suffix for name in plan.requested),
    }
