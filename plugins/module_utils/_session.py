# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules for the replicator share: options, connections, failures. PRIVATE to this collection."""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveadm_client import DoveadmClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import Doveconf
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._full_sync import Guard, request_full_syncs
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._http_client import (
    HttpApi,
    HttpClient,
    HttpUserdb,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import check_names
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._socket_client import SocketClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._userdb import USERDB_SOCKET, Userdb
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._waiting import wait_for_syncs

SOCKET_NAME = "replicator-doveadm"
NAMED_IN_MESSAGES = 10

# For the users of an Outcome that failed, were dropped, are pending.
WAIT_PROBLEMS = [
    "The sync failed for %s: Dovecot's log has the reason (most often the peer is down, refuses the password or lacks "
    "the account); where it has none, run `doveadm -v sync -u USER -d -N` on this host.",
    "The replicator dropped %s from its list: the account is missing on the peer or here, or has noreplicate set; "
    "create it on both hosts.",
    "Still not synced when wait_timeout was over: %s; `doveadm replicator dsync-status` shows what runs, and a peer "
    "that accepts but does not answer keeps a sync waiting.",
]

# Documented in plugins/doc_fragments/replicator.py.
COMMON_OPTIONS = dict(
    transport=dict(type="str", choices=["auto", "socket", "doveadm", "http"], default="auto"),
    socket_path=dict(type="path"),
    config_file=dict(type="path"),
    instance=dict(type="str"),
    doveadm_path=dict(type="path"),
    settings=dict(type="dict"),
    debug=dict(type="bool", default=False),
    api_url=dict(type="str"),
    api_key=dict(type="str", no_log=True),
    ca_path=dict(type="path"),
    validate_certs=dict(type="bool", default=True),
    timeout=dict(type="float", default=30),
)

USER_OPTIONS = dict(
    users=dict(type="list", elements="str", aliases=["name", "user"]),
    user_mask=dict(type="str"),
)

WAIT_OPTIONS = dict(
    wait=dict(type="bool", default=False),
    wait_timeout=dict(type="float", default=300),
)


class Session:
    """One task against one replicator."""

    def __init__(self, module):
        self.module = module
        self.params = module.params
        module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
        self._doveconf = Doveconf(
            module.run_command,
            self.params["config_file"],
            self.params["instance"],
            self.params["settings"],
            self.params["doveadm_path"],
        )
        self._base_dir = None
        self._userdb = None
        self._client = None
        self._http_api = None

    @classmethod
    def run(cls, work, argument_spec, **kwargs):
        """Run a module: ``work`` takes the Session and returns the result; what goes wrong ends in one message."""
        spec = dict(COMMON_OPTIONS)
        spec.update(argument_spec)
        session = cls(AnsibleModule(argument_spec=spec, supports_check_mode=True, **kwargs))
        try:
            result = work(session)
            result["transport"] = session.client.transport
            if session.params["debug"]:
                result["debug_log"] = session.client.printed
        except DovecotError as error:
            session.fail(session._explained(error))
        finally:
            session._close()
        session.module.exit_json(**result)

    @property
    def check_mode(self):
        return self.module.check_mode

    @property
    def base_dir(self):
        """Where the instance has its sockets: beside the socket that was named, else where its configuration says."""
        if self._base_dir is None:
            beside = os.path.dirname(self.params["socket_path"] or "")
            named = beside and os.path.exists(os.path.join(beside, USERDB_SOCKET))
            self._base_dir = beside if named else self._doveconf.base_dir()
        return self._base_dir

    @property
    def socket_path(self):
        return self.params["socket_path"] or os.path.join(self.base_dir, SOCKET_NAME)

    @property
    def client(self):
        """The replicator, through the transport asked for."""
        if self._client is None:
            self._client = self._connected()
        return self._client

    def _connected(self):
        params = self.params
        transport = chosen_transport(params)
        if transport == "socket":
            return SocketClient(self.socket_path, params["timeout"])
        if transport == "http":
            return HttpClient(self.api, params["socket_path"])
        doveadm = self._doveconf.doveadm() + (["-D"] if params["debug"] else [])
        limit = self.module.get_bin_path("timeout")
        if limit:
            doveadm = [limit, str(params["timeout"])] + doveadm
        return DoveadmClient(self.module.run_command, doveadm, params["socket_path"])

    def _explained(self, error):
        """Return the message of a failure; where the Dovecot of this host has no replicator, that is the reason."""
        if self.params["transport"] == "http" or (self.params["transport"] == "auto" and self.params["api_url"]):
            return str(error)
        try:
            self._doveconf.refuse_without_replicator()
        except DovecotError as gone:
            return str(gone)
        return str(error)

    @property
    def api(self):
        """doveadm's HTTP API, for the transport of that name."""
        if self._http_api is None:
            self._http_api = self._new_api()
        return self._http_api

    def _new_api(self):
        params = self.params
        if not params["api_url"] or not params["api_key"]:
            raise DovecotError("Choosing the transport", "transport=http needs api_url and api_key")
        if not params["api_url"].startswith(("https:", "http://127.", "http://localhost", "http://[::1]")):
            self.warn(
                "The key in api_key crosses the network in clear: give api_url as https and the listener ssl = yes."
            )
        return HttpApi(
            params["api_url"], params["api_key"], params["timeout"], params["ca_path"], params["validate_certs"]
        )

    @property
    def userdb(self):
        """The user databases of the Dovecot whose replicator this is."""
        if self._userdb is None:
            remote = self.client.transport == "http"
            self._userdb = HttpUserdb(self.api) if remote else Userdb(self.base_dir, self.params["timeout"])
        return self._userdb

    def where(self):
        """Return the version of Dovecot and the path of the socket, None where the transport does not tell."""
        if self.client.transport == "http":
            return dict(dovecot_version=None, socket_path=self.params["socket_path"])
        return dict(dovecot_version=self._doveconf.version(), socket_path=self.socket_path)

    def named_users(self):
        """Return the names given as ``users``, or None; a mask among them is refused."""
        users = self.params["users"]
        if users is not None:
            check_names(users)
        return users

    def known_to_userdb(self, names):
        """Return the names as the userdb spells them; fail, before anything is changed, when it lacks one."""
        found = self.userdb.find(names)
        unknown = sorted(set(names).difference(found))
        if unknown:
            self.fail(
                "The userdb does not have %s; nothing was changed. Create the account (on both hosts) first, correct "
                "the name, or set check_userdb to false. `doveadm user NAME` shows what Dovecot knows."
                % enumerated(unknown),
                unknown_users=unknown,
            )
        return sorted(set(found.values()))

    def request_full_syncs(self, names, result):
        """Queue full syncs; fail naming the users whose sync under way has not ended in wait_timeout."""
        priority = self.params["priority"]
        guard = Guard(lambda name: self._connected().replicate([name], priority))
        try:
            late = request_full_syncs(self.client, names, priority, self.params["wait_timeout"], guard)
        finally:
            guard.close()
        if late:
            self.fail(
                "A sync is under way that has not ended in wait_timeout, so no full one was asked for, for %s. A peer "
                "that accepts but does not answer keeps a sync waiting; `doveadm replicator dsync-status` shows it."
                % enumerated(late),
                **dict(result, requested=sorted(set(names).difference(late)), pending_users=late),
            )

    def wait_for_syncs(self, names, result):
        """Wait as the options say, add the outcome to the result, and fail naming the users that are not in sync."""
        outcome = wait_for_syncs(self.client, names, self.params["wait_timeout"])
        result.update(
            synced_users=outcome.synced,
            failed_users=outcome.failed,
            dropped_users=outcome.dropped,
            pending_users=outcome.pending,
            elapsed=outcome.elapsed,
        )
        problems = [text % enumerated(names) for names, text in zip(outcome[1:4], WAIT_PROBLEMS) if names]
        if problems:
            self.fail(
                "%d of %d users synced. %s" % (len(outcome.synced), len(names), " ".join(problems)),
                transport=self.client.transport,
                **result,
            )

    def warn(self, text):
        self.module.warn(text)

    def fail(self, message, **result):
        self.module.fail_json(msg=message, **result)

    def _close(self):
        for connection in (self._client, self._userdb):
            if connection is not None:
                connection.close()


def chosen_transport(params):
    """Return the transport that the options ask for; raise DovecotError when they contradict each other."""
    for_doveadm = [option for option in ("settings", "debug") if params[option]]
    transport = params["transport"]
    if transport == "auto":
        transport = "http" if params["api_url"] else "doveadm" if for_doveadm else "socket"
    if for_doveadm and transport != "doveadm":
        raise DovecotError(
            "Choosing the transport",
            "%s is for transport=doveadm, and %s has nothing like it" % (" and ".join(for_doveadm), transport),
        )
    return transport


def enumerated(names):
    """Return names for a message: the first few, and how many more there are."""
    text = ", ".join(names[:NAMED_IN_MESSAGES])
    more = len(names) - NAMED_IN_MESSAGES
    return "%s and %d more" % (text, more) if more > 0 else text
