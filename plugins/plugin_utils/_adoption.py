# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How mail on both hosts is brought together: what `adopt` does next. Pure. PRIVATE to this collection.

Both hosts of a pair compute the same plan from the same two listings, and each one carries out its own part. One host,
the leader, has the users synced and compared for both. What still differs after that is taken again from the start,
because until Dovecot 2.3.19 a sync that comes in between exchanges the GUIDs.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.identity import Change

# A user as the module mailbox_info returns it without fingerprints, and one of its mailboxes.
Row = Mapping[str, Any]
# The ends of a sync, as replicator_replicate returns them, after which a user needs another one.
UNSYNCED = ("failed_users", "dropped_users", "pending_users")
# How often the users that still differ are taken again.
ROUNDS = 4


class Plan(NamedTuple):
    """What to do with a pair.

    :arg changes: by host, the mailboxes that get the GUID of the other host's
    :arg adopted: the users whose mailboxes those are
    :arg differing: all users to sync, adopted ones too
    :arg one_sided: users that only one host has, by host
    :arg users: how many users both hosts have
    :arg unreadable: users whose mail a host cannot read, with the reason, by host
    :arg messages: by host, how many messages it has of the differing users
    """

    changes: Dict[str, List[Change]]
    adopted: List[str]
    differing: List[str]
    one_sided: Dict[str, List[str]]
    users: int
    messages: Dict[str, int]
    unreadable: Dict[str, Dict[str, str]] = {}


class Adoption(NamedTuple):
    """What a host has done and seen so far; what the tasks read.

    :arg leader: the host that has users synced and compared
    :arg hosts: of the pair
    :arg round: 1 for the first one
    :arg users: how many users both hosts have
    :arg one_sided: users that only this host has
    :arg planned: how many users of the pair had mailboxes to be adopted in the first round
    :arg adopted_users: users whose mailboxes this host has changed, in all rounds
    :arg mailboxes: how many mailboxes it has changed
    :arg failures: why mailboxes could not be changed in the last round
    :arg differing: users to sync and to compare in this round
    :arg requested: how many users were to be synced in the first round
    :arg again: users to take again
    :arg syncs: the message of a failed sync by host in the last round, empty where it succeeded
    :arg before, after: messages of the users to be synced, by host before, and the same on both after
    :arg doubled: how many messages of users are in one folder twice, by user
    :arg failure: why this host needs a person, empty where it does not
    """

    leader: str = ""
    hosts: List[str] = []
    round: int = 1
    users: int = 0
    one_sided: List[str] = []
    planned: int = 0
    adopted_users: List[str] = []
    mailboxes: int = 0
    failures: List[str] = []
    differing: List[str] = []
    requested: int = 0
    again: List[str] = []
    syncs: Dict[str, str] = {}
    before: Dict[str, int] = {}
    after: int = 0
    doubled: Dict[str, int] = {}
    failure: str = ""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Adoption":
        """Return the Adoption in the result of a task."""
        return cls(**{name: values[name] for name in cls._fields if name in values})


# Plan


def planned(listings: Mapping[str, Sequence[Row]]) -> Plan:
    """Return what to do.

    :arg listings: the rows of each of two hosts, in the order of the inventory
    """
    hosts = list(listings)
    here, there = ({row["username"]: row for row in listings[host]} for host in hosts)
    common = sorted(name for name in set(here).intersection(there) if not _is_kept_out(here[name], there[name]))
    changes: Dict[str, List[Change]] = {host: [] for host in hosts}
    adopted, differing = [], []
    for name in common:
        of_user = _changes_of(name, hosts, here[name]["mailboxes"], there[name]["mailboxes"])
        for host, change in of_user:
            changes[host].append(change)
        if of_user:
            adopted.append(name)
        if here[name]["mailboxes"] != there[name]["mailboxes"]:
            differing.append(name)
    return Plan(
        changes=changes,
        adopted=adopted,
        differing=differing,
        one_sided={hosts[0]: sorted(set(here).difference(there)), hosts[1]: sorted(set(there).difference(here))},
        users=len(common),
        messages={
            hosts[0]: sum(here[name]["messages"] for name in differing),
            hosts[1]: sum(there[name]["messages"] for name in differing),
        },
        unreadable={
            hosts[0]: {name: here[name]["problem"] for name in sorted(here) if here[name]["problem"]},
            hosts[1]: {name: there[name]["problem"] for name in sorted(there) if there[name]["problem"]},
        },
    )


def _is_kept_out(*rows: Row) -> bool:
    return any(row["noreplicate"] or row["problem"] for row in rows)


def _changes_of(name: str, hosts: Sequence[str], *mailboxes: Sequence[Row]) -> List[Tuple[str, Change]]:
    """Return the changes of a user, each with its host."""
    here, there = ({mailbox["name"]: mailbox for mailbox in rows} for rows in mailboxes)
    guids = [{mailbox["guid"] for mailbox in rows} for rows in mailboxes]
    found = []
    for place in sorted(set(here).intersection(there)):
        pair = here[place], there[place]
        if pair[0]["guid"] == pair[1]["guid"]:
            continue
        # The host with less in it changes, as its clients have to read the mailbox anew.
        less = 0 if pair[0]["messages"] < pair[1]["messages"] else 1
        for side in (less, 1 - less):
            mine, other = pair[side], pair[1 - side]
            # A mailbox that was renamed on one host keeps its GUID under the other name. dsync renames it on the other.
            if other["guid"] not in guids[side]:
                found.append((hosts[side], _change(name, mine, other)))
                guids[side] = guids[side].difference([mine["guid"]]).union([other["guid"]])
                break
    return found


def _change(name: str, mine: Row, other: Row) -> Change:
    """Return the change of a mailbox.

    dsync lets the higher UIDVALIDITY win. It shall be that of the other host, whose clients then keep what they have.
    The two must not be equal: a sync that is not a full one could then take the mailboxes for the same.
    """
    lower = mine["uidvalidity"] < other["uidvalidity"] or other["uidvalidity"] < 2
    uidvalidity = None if lower else other["uidvalidity"] - 1
    return Change(name, mine["name"], mine["guid"], other["guid"], uidvalidity)


# Rounds


def begun(before: Optional[Adoption], name: str, plan: Plan, results: Sequence[Mapping[str, Any]]) -> Adoption:
    """Return what a host knows after it has changed its mailboxes.

    :arg before: what it knew in the round before, None in the first round
    :arg name: of this host
    :arg results: of the module mailbox_identity
    """
    hosts = list(plan.changes)
    first = before or Adoption(
        leader=hosts[0],
        hosts=hosts,
        round=0,
        users=plan.users,
        one_sided=plan.one_sided[name],
        planned=len(plan.adopted),
        requested=len(plan.differing),
        before=plan.messages,
    )
    changed = [entry for result in results for entry in result.get("adopted", [])]
    failures = [str(result["msg"]) for result in results if result.get("failed")]
    unreadable = plan.unreadable.get(name, {})
    if unreadable:
        user = next(iter(unreadable))
        failures.append(
            "The mail of %s cannot be read here, and was left alone; of %s: %s."
            % (enumerated(list(unreadable)), user, unreadable[user].rstrip("."))
        )
    return first._replace(
        round=first.round + 1,
        adopted_users=sorted({*first.adopted_users, *(entry["username"] for entry in changed)}),
        mailboxes=first.mailboxes + len(changed),
        failures=failures,
        differing=plan.differing,
        again=[],
        syncs={},
    )


def compared(
    adoption: Adoption, syncs: Sequence[Mapping[str, Any]], fingerprints: Sequence[Mapping[str, Any]]
) -> Adoption:
    """Return what the leader knows after syncs and comparison.

    :arg syncs: results of replicator_replicate on each host, with the host as ``item``
    :arg fingerprints: results of mailbox_info on each host
    """
    here, there = ({row["username"]: row for row in result.get("users", [])} for result in fingerprints)
    unsynced = {name for result in syncs for end in UNSYNCED for name in result.get(end) or []}
    same = [
        name for name in adoption.differing if name not in unsynced and name in here and here[name] == there.get(name)
    ]
    return adoption._replace(
        syncs={str(result["item"]): str(result.get("msg", "")) for result in syncs},
        again=sorted(set(adoption.differing).difference(same)),
        after=adoption.after + sum(here[name]["messages"] for name in same),
        doubled={**adoption.doubled, **{name: here[name]["doubled"] for name in same if here[name]["doubled"]}},
    )


def goes_on(adoption: Adoption) -> bool:
    """Tell whether another round follows."""
    return bool(adoption.again) and adoption.round < ROUNDS


# Conclusion


def failure(own: Adoption, leading: Adoption) -> str:
    """Return why a host needs a person, empty where it does not.

    :arg leading: what the leader knows
    """
    parts = []
    if leading.again:
        parts.append(
            "%d of %d users do not have the same mail on both hosts after %d rounds: %s."
            % (len(leading.again), leading.requested, leading.round, enumerated(leading.again))
        )
        parts += ["Sync from %s: %s" % (host, text) for host, text in sorted(leading.syncs.items()) if text]
    return " ".join(parts + own.failures)
