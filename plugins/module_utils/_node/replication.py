# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The observation of one host that ``verify`` judges, put together from its parts. PRIVATE to this collection.

The module node_info imports this only where it is asked for: ssl and the readers of mail take their time.
"""

import os
import time
from typing import Any, Collection, Dict, Iterable, List, Optional, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.accounts import (
    gid_of,
    uid_of,
    user_name,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import differing_in_case, sample
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import iteration, reading
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.reading import Configuration
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import Listing, mail_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import history, observation, syncer
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.observation import (
    Described,
    Owner,
    excerpt,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import Account
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SYNCERS

# How far back errors are of interest: the replicator retries failing users every five minutes.
ERRORS_SECONDS = 900


def observe(session: Session) -> Described:
    """Return what the module node_info returns for ``gather: [replication]``.

    :arg session: its params are those of the module
    """
    session.require_replicator()
    params = session.params
    by_syncer = session.transport in SYNCERS
    result: Dict[str, Any] = dict(hostname=os.uname()[1], **session.where())
    result["engine"] = session.transport if by_syncer else "replicator"
    result["syncer"] = syncer.observe(session, params["limit"]) if by_syncer else None
    configuration = reading.read(session.doveconf)
    result["config_problem"] = configuration.complaint
    if configuration.complaint is not None:
        return result
    names, userdb = list_users(session)
    without_mail = iteration.without_mail(configuration)
    userdb.update(without_mail=observation.excerpt(without_mail, params["limit"]))
    userdb.update(required=params["require_iteration"], passed_over=iteration.passed_over(configuration))
    replicator, statuses = observe_replicator(session, configuration, names, params["limit"])
    failing = {name for name in statuses if statuses[name].failed}
    # Where nobody has to be listed, the replicator knows whose mail has changed.
    candidates = names.intersection(statuses) if names or params["require_iteration"] else set(statuses)
    sampled = sample(candidates.difference(failing), params["sample"])
    about = suspects(replicator).union(params["accounts"], result["syncer"]["missing"]["first"] if by_syncer else ())
    found, answered = look_up(session, about.union(sampled, failing, names if params["all_accounts"] else ()))
    of_users = {account.mail_replica for account in found.values() if account.mail_replica}
    existing = sorted(about.intersection(found))
    listing = mail_of(session.connections).mailboxes(existing) if existing else Listing({}, {})
    # Other spellings have a finding of their own.
    aliases = [name for name in found if found[name].username.lower() != name.lower() and name in names]
    userdb["aliases"] = observation.excerpt(
        ["%s (%s)" % (name, found[name].username) for name in sorted(aliases)], params["limit"]
    )
    chrooted = sorted(name for name in found if found[name].is_chrooted)
    userdb["chrooted"] = observation.excerpt(chrooted, params["limit"])
    owners = {owner(account, configuration) for account in found.values()}
    since = time.time() - ERRORS_SECONDS
    result.update(
        settings=observation.settings(configuration),
        listeners=[]
        if by_syncer
        else [dict(item, shut_out=shut_out(item, owners)) for item in observation.listeners(configuration)],
        userdb=userdb,
        metrics_dir=history.metrics_dir(),
        replicator=replicator,
        sample=[name for name in sampled if name in found],
        peer=observation.peer(
            configuration,
            result["syncer"]["destination"] if by_syncer else observation.replica(configuration, of_users),
            params["timeout"],
            session.module.run_command,
        ),
        accounts=[described(name, found.get(name), answered, listing, name in names) for name in sorted(about)],
        fields=observation.overrides(found.values(), configuration, params["limit"]),
        errors=observation.recent_errors(session.base_dir, params["timeout"], about, since, params["limit"]),
    )
    return result


def list_users(session: Session) -> Tuple[Set[str], Described]:
    """Return the names that the userdb lists, and ``users``, how many, None with a ``problem``."""
    try:
        names = session.userdb.names()
    except DovecotError as error:
        return set(), {"users": None, "problem": str(error)}
    return names, {"users": len(names), "problem": None}


def observe_replicator(
    session: Session, configuration: Configuration, names: Set[str], limit: int
) -> Tuple[Described, Dict[str, Any]]:
    """Return the state of the replicator, and its list as a dict of UserStatus by name.

    :arg names: the users whom the userdb lists
    """
    on_hold = bool(session.connections.on_hold())
    try:
        result = dict(observation.queue(session.client, limit, on_hold), problem=None)
        statuses = result.pop("statuses")
        if names.difference(statuses):
            # A replicator that has just started is still reading the userdb.
            time.sleep(observation.SECOND_LOOK)
            statuses = session.client.users()
    except DovecotError as error:
        return {"problem": str(error)}, {}
    listed = set(statuses)
    unknown_users = sorted(listed.difference(names)) if names else []
    spelt, answered = look_up(session, unknown_users)
    result.update(
        unknown_users=excerpt([name for name in unknown_users if answered and name not in spelt], limit),
        duplicate_spellings=excerpt(sorted(differing_in_case(listed, names).intersection(spelt)), limit),
        unlisted=excerpt(sorted(names.difference(listed)), limit),
    )
    return result, statuses


def suspects(replicator: Described) -> Set[str]:
    """Return the users whose accounts matter: failing, unlisted, standing in the queue, or being synced."""
    names = {slot["username"] for slot in replicator.get("running", [])}
    kinds = [replicator[kind] for kind in ("failing", "unlisted", "standing") if kind in replicator]
    return names.union(*(kind["first"] for kind in kinds))


def look_up(session: Session, names: Collection[str]) -> Tuple[Dict[str, Account], bool]:
    """Return the accounts with these names, and whether the userdb has answered."""
    try:
        return (session.userdb.accounts(names) if names else {}), True
    except DovecotError:
        return {}, False


def described(name: str, account: Optional[Account], answered: bool, listing: Listing, listed: bool) -> Described:
    """Return an account as the module does."""
    mailboxes = listing.mailboxes.get(name, {})
    return {
        "username": name,
        "listed": listed,
        "exists": account is not None if answered else None,
        "noreplicate": account is not None and account.noreplicate,
        "mail_replica": account.mail_replica if account else None,
        "mailboxes": [dict(mailboxes[mailbox], name=mailbox) for mailbox in sorted(mailboxes)],
        "read_problem": listing.problems.get(name),
    }


def owner(account: Account, configuration: Configuration) -> Optional[Owner]:
    """Return who owns the mail of an account, None when nothing tells."""
    uid, gid = account.uid or configuration.value("mail_uid"), account.gid or configuration.value("mail_gid")
    groups = configuration.value("mail_access_groups").split() + [gid]
    try:
        return Owner(
            int(uid) if uid.isdecimal() else uid_of(uid),
            tuple(int(name) if name.isdecimal() else gid_of(name) for name in groups if name),
        )
    except DovecotError:
        return None


def shut_out(listener: Described, owners: Iterable[Optional[Owner]]) -> List[str]:
    """Return the owners who may not write to a socket, by name, or by number where the system knows none."""
    return sorted(user_name(one.uid) for one in owners if one and observation.cannot_write(listener["path"], one))
