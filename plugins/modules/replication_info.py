#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_info
short_description: Observe on one host all that decides whether its replication works
version_added: 1.0.0
description:
  - Reads the configuration, the sockets, the userdb, the replicator's queue and Dovecot's last errors, and logs in at
    the peer as a sync would, without syncing.
  - Judges nothing. The filter P(mailops.dovecot_replication.replication_findings#filter) finds out what is wrong from
    the observations of both hosts, and names the cures. The role C(replication) does both in its entry point C(verify).
  - Changes nothing. No secret is returned.
notes:
  - Needs root, as it reads Dovecot's secrets to log in with them. Nothing of them leaves the host but the log-in.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.attributes.info_module
  - mailops.dovecot_replication.replicator
options:
  sample:
    description: How many users to name in RV(sample), evenly spread over all that can be compared.
    type: int
    default: 10
  limit:
    description: How many users or errors a list may have; what is longer is counted.
    type: int
    default: 20
  accounts:
    description: More users to look up in the userdb, such as those that the peer has trouble with.
    type: list
    elements: str
    default: []
  transport:
    description: How to talk to the replicator. V(http) does not do here, as the host's files are looked at.
    type: str
    choices: [auto, socket, doveadm, http]
    default: auto
  timeout:
    description: Longest silence accepted, from the replicator and from the peer, in seconds.
    type: float
    default: 5
seealso:
  - plugin: mailops.dovecot_replication.replication_findings
    plugin_type: filter
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Observe the host
  mailops.dovecot_replication.replication_info:
  register: replication

- name: See that the peer lets this host in
  ansible.builtin.assert:
    that: replication.peer.stage == 'ok'
    fail_msg: "{{ replication.peer.host }}: {{ replication.peer.stage }} {{ replication.peer.answer }}"

- name: Find out what is wrong with a pair
  hosts: dovecot_replication
  become: true
  gather_facts: false
  tasks:
    - name: Observe both hosts
      mailops.dovecot_replication.replication_info:
      register: replication

    - name: Show what is found
      ansible.builtin.debug:
        msg: "{{ observations | mailops.dovecot_replication.replication_findings }}"
      vars:
        seen: "{{ ansible_play_hosts | map('extract', hostvars, 'replication') }}"
        observations: "{{ dict(ansible_play_hosts | zip(seen)) }}"
      run_once: true
"""

RETURN = r"""
hostname:
  description: The name the host has for itself.
  returned: success
  type: str
  sample: mx1.example.org
config_problem:
  description: What doveconf complains of, null without a complaint. With one the rest is missing.
  returned: success
  type: str
settings:
  description:
    - What of the configuration matters. C(values) and C(mail_plugins), the latter by protocol, have dicts of C(value)
      and C(place), the file and line that decides, null for Dovecot's default. Of C(doveadm_password) only the place
      is told.
    - C(misplaced) and C(forbidden) are lists of C(setting) and C(place).
  returned: success
  type: dict
listeners:
  description:
    - "The sockets C(replicator-doveadm), C(replication-notify) and C(replication-notify-fifo): dicts of C(path),
      C(configured) (paths), C(exists), C(mode), C(owner), C(group), and C(shut_out), the owners of mail who may not
      write there."
  returned: success
  type: dict
peer:
  description:
    - "Where the host syncs to, and how far it comes there: C(replica), C(problem), C(host), C(port), C(addresses),
      C(is_self), C(stage), C(answer)."
    - C(stage) is V(ok), or where it ended. V(lookup), V(connect), V(silent), V(tls_expected), V(no_tls),
      V(certificate), V(greeting), V(no_password), V(password) or V(ssh).
  returned: success
  type: dict
userdb:
  description: "C(users), how many it lists, or null with C(problem)."
  returned: success
  type: dict
replicator:
  description:
    - "C(problem), or C(overview), C(failing), C(running), C(standing), C(unlisted), C(strangers) and C(doubles)."
    - Each but C(overview) and C(running) has C(count) and C(first).
  returned: success
  type: dict
accounts:
  description:
    - "What O(accounts) are, and users that fail, are unlisted, or are being synced: C(exists), null when the userdb
      does not answer, C(noreplicate), C(mail_replica), and C(mailboxes), a dict of C(guid) and C(messages) by mailbox."
  returned: success
  type: dict
errors:
  description: Dovecot's last errors about these users or the replicator.
  returned: success
  type: list
  elements: str
sample:
  description: Users that both the userdb and the replicator have, not failing.
  returned: success
  type: list
  elements: str
dovecot_version:
  description: The version of Dovecot.
  returned: success
  type: str
  sample: 2.3.19.1 (9b53102964)
socket_path:
  description: The replicator's socket.
  returned: success
  type: str
transport:
  description: The transport that was used.
  returned: success
  type: str
debug_log:
  description: What doveadm printed beside its answers.
  returned: when O(debug=true)
  type: list
  elements: str
"""

import os
import pwd
import time

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _observation as observation
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail_readers import mail_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import differing_in_case
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._session import Session

# How far back errors are of interest: the replicator tries failing users every five minutes.
ERRORS_SECONDS = 900


def work(session):
    if session.transport == "http":
        raise DovecotError("Observing the host", "the API tells nothing of files and sockets", cure="use no api_url")
    session.require_replicator()
    result = dict(changed=False, hostname=os.uname()[1], **session.where())
    rc, out, err = session.doveconf.run("-P")
    result["config_problem"] = (err.strip() or "doveconf ended with status %d" % rc) if rc else None
    if rc:
        return result
    configuration = observation.Configuration(out)
    limit = session.params["limit"]
    result["settings"] = observation.settings(configuration)
    result["listeners"] = observation.listeners(configuration)
    names, result["userdb"] = listed_by_userdb(session)
    replicator = result["replicator"] = observe_replicator(session, names, limit)
    statuses = replicator.pop("statuses", {})
    failing = {name for name in statuses if statuses[name].failed}
    result["sample"] = observation.sample(names.intersection(statuses).difference(failing), session.params["sample"])
    about = suspects(replicator).union(session.params["accounts"])
    found, answered = look_up(session, about.union(result["sample"]))
    of_users = {account.mail_replica for account in found.values() if account.mail_replica}
    result["peer"] = observation.peer(configuration, of_users, session.params["timeout"], session.module.run_command)
    existing = sorted(about.intersection(found))
    mailboxes = mail_of(session).mailboxes(existing) if existing else {}
    result["accounts"] = {name: described(found.get(name), answered, mailboxes.get(name, {})) for name in about}
    owners = {owner(account, configuration) for account in found.values()}
    for listener in result["listeners"].values():
        shut_out = [uid for uid in owners if uid is not None and observation.cannot_write(listener["path"], uid)]
        listener["shut_out"] = sorted(pwd.getpwuid(uid)[0] for uid in shut_out)
    since = time.time() - ERRORS_SECONDS
    result["errors"] = observation.recent_errors(session.base_dir, session.params["timeout"], about, since, limit)
    return result


def listed_by_userdb(session):
    """Return the names that the userdb lists, a set, and what to tell of it."""
    try:
        names = session.userdb.names()
    except DovecotError as error:
        return set(), {"users": None, "problem": str(error)}
    return names, {"users": len(names), "problem": None}


def observe_replicator(session, names, limit):
    """Return what to tell of the replicator, and its list as ``statuses``."""
    try:
        result = dict(observation.queue(session.client, limit), problem=None)
        statuses = result["statuses"]
        if names.difference(statuses):
            # One that has just started is still reading the userdb.
            time.sleep(observation.SECOND_LOOK)
            result["statuses"] = statuses = session.client.users()
    except DovecotError as error:
        return {"problem": str(error), "answer": str(error.answer)}
    listed = set(statuses)
    strangers = sorted(listed.difference(names)) if names else []
    spelt, answered = look_up(session, strangers)
    doubles = differing_in_case(listed, names).intersection(spelt)
    result["strangers"] = first(limit, [name for name in strangers if answered and name not in spelt])
    result["doubles"] = first(limit, sorted(doubles))
    result["unlisted"] = first(limit, sorted(names.difference(listed)))
    return result


def first(limit, items):
    return {"count": len(items), "first": items[:limit]}


def suspects(replicator):
    names = {user["username"] for user in replicator.get("failing", {}).get("first", [])}
    for kind in ("unlisted", "standing"):
        names.update(replicator.get(kind, {}).get("first", []))
    return names.union(user["username"] for user in replicator.get("running", []))


def look_up(session, names):
    """Return the accounts with these names, a dict, and whether the userdb has answered."""
    try:
        return (session.userdb.accounts(names) if names else {}), True
    except DovecotError:
        return {}, False


def described(account, answered, mailboxes):
    return {
        "exists": account is not None if answered else None,
        "noreplicate": account is not None and account.noreplicate,
        "mail_replica": account.mail_replica if account else None,
        "mailboxes": mailboxes,
    }


def owner(account, configuration):
    """Return the uid that owns the mail of an account, None when it cannot be told."""
    text = account.uid or configuration.value("mail_uid")
    try:
        return int(text) if text.isdigit() else pwd.getpwnam(text).pw_uid
    except KeyError:
        return None


def main():
    Session.run(
        work,
        dict(
            sample=dict(type="int", default=10),
            limit=dict(type="int", default=20),
            accounts=dict(type="list", elements="str", default=[]),
            timeout=dict(type="float", default=5),
        ),
    )


if __name__ == "__main__":
    main()
