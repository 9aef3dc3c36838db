# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all modules for the replicator share: options, connections, failures. PRIVATE to this collection."""

import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveadm_client import DoveadmClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import Doveconf
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._loaded import incarnation
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import (
    NAMED_IN_MESSAGES,
    check_names,
    differing_in_case,
    enumerated,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._socket_client import SocketClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._userdb import USERDB_SOCKET, Userdb
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._waiting import (
    ENDED,
    MAY_BE_LOST,
    Until,
    Watch,
    reason_for_dropping,
    wait_for_syncs,
)

SOCKET_NAME = "replicator-doveadm"
# What the option ``timeout`` is when a module needs that name for something else.
LONGEST_SILENCE = 30

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
    timeout=dict(type="float", default=LONGEST_SILENCE),
)

USER_OPTIONS = dict(
    users=dict(type="list", elements="str", aliases=["name", "user"]),
    user_mask=dict(type="str"),
)

# How the action plugins wait in slices, to show in between how far it is; see plugin_utils/_waiting_action.py.
# ``seconds``: return after so many. The rest is what a slice has returned as ``waiting``: go on with that.
SLICE_OPTION = dict(_wait_slice=dict(type="dict"))

WAIT_OPTIONS = dict(
    SLICE_OPTION,
    wait=dict(type="bool", default=False),
    wait_timeout=dict(type="float", default=300),
)


class Session:
    """One task against one replicator."""

    def __init__(self, module, longest_silence=None):
        self.module = module
        self.params = module.params
        self.longest_silence = longest_silence or self.params["timeout"]
        module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
        self._doveconf = Doveconf(
            module.run_command,
            self.params["config_file"],
            self.params["instance"],
            self.params["settings"],
            self.params["doveadm_path"],
        )
        # The transport in use, one of those that the module can do with.
        self.transport = None
        # What doveadm has printed beside its answers.
        self.printed = []
        self._base_dir = None
        self._userdb = None
        self._client = None
        self._http_api = None
        self._ask_again = None

    @classmethod
    def run(cls, work, argument_spec, longest_silence=None, of_mail=False, ask_again=None, **kwargs):
        """Run a module: ``work`` takes the Session and returns the result; what goes wrong ends in one message.

        :arg longest_silence: instead of the option ``timeout``
        :arg of_mail: whether the module reads mail, of which the replicator's socket has nothing to tell
        :arg ask_again: function of the Session and names, for which to ask again when a restart has broken off a wait
        """
        spec = dict(COMMON_OPTIONS, **argument_spec)
        module = AnsibleModule(
            argument_spec=spec,
            supports_check_mode=True,
            required_together=[["api_url", "api_key"]],
            required_if=[["transport", "http", ["api_url", "api_key"]]],
            **kwargs,
        )
        session = cls(module, longest_silence)
        session._ask_again = ask_again
        try:
            check_numbers(session.params, session.longest_silence)
            session.transport = chosen_transport(session.params, of_mail)
            result = session._go_on_waiting() if "names" in session._slice else work(session)
            result["transport"] = session.transport
            if session.params["debug"]:
                result["debug_log"] = session.printed
        except DovecotError as error:
            session.fail(session._explained(error))
        finally:
            session._close()
        session.module.exit_json(invocation=session._invocation(), **result)

    @property
    def check_mode(self):
        return self.module.check_mode

    @property
    def doveconf(self):
        """The Doveconf of the instance."""
        return self._doveconf

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

    def has_socket(self):
        """Tell whether the replicator has a socket; over HTTP nobody can tell, and it is taken for granted."""
        return self.transport == "http" or os.path.exists(self.socket_path)

    @property
    def client(self):
        """The replicator, through the transport asked for."""
        if self._client is None:
            self._client = self.connected()
        return self._client

    def connected(self):
        """Return a client with a connection of its own."""
        if self.transport == "socket":
            return SocketClient(self.socket_path, self.longest_silence)
        if self.transport == "http":
            return http_transport().HttpClient(self.api, self.params["socket_path"])
        return DoveadmClient(self.module.run_command, self.doveadm(), self.params["socket_path"], self.printed)

    def doveadm(self):
        """Return the command with its global options, cut off when it is silent for too long; a list."""
        doveadm = self._doveconf.doveadm() + (["-D"] if self.params["debug"] else [])
        limit = self.module.get_bin_path("timeout")
        return [limit, str(self.longest_silence)] + doveadm if limit else doveadm

    def require_replicator(self):
        """Raise DovecotError where Dovecot has none any more, for a module that has no other need of it."""
        if self.transport == "http":
            self.client.overview()
        else:
            self._doveconf.refuse_without_replicator()

    def _explained(self, error):
        """Return the message of a failure; where the Dovecot of this host has no replicator, that is the reason."""
        if self.transport == "http":
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
            # Both are given, but may be empty.
            raise DovecotError("Choosing the transport", "the API needs api_url and api_key, and one has no value")
        if not params["api_url"].startswith(("https:", "http://127.", "http://localhost", "http://[::1]")):
            self.warn(
                "The key in api_key crosses the network in clear: give api_url as https and the listener ssl = yes."
            )
        return http_transport().HttpApi(
            params["api_url"], params["api_key"], self.longest_silence, params["ca_path"], params["validate_certs"]
        )

    @property
    def userdb(self):
        """The user databases of the Dovecot whose replicator this is."""
        if self._userdb is None:
            remote = self.transport == "http"
            if remote:
                self._userdb = http_transport().HttpUserdb(self.api)
            else:
                self._userdb = Userdb(self.base_dir, self.longest_silence)
        return self._userdb

    def where(self):
        """Return the version of Dovecot and the path of the socket, None where the transport does not tell."""
        if self.transport == "http":
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

    def refuse_noreplicate(self, names):
        """Fail, before anything is changed, when the userdb keeps one of the names from being replicated."""
        accounts = self.userdb.accounts(names)
        excluded = sorted(name for name in names if name in accounts and accounts[name].noreplicate)
        if excluded:
            self.fail(
                "The userdb field noreplicate is set for %s, so the replicator would drop them; nothing was changed. "
                "Remove the field (on both hosts), leave out the names, or set check_userdb to false."
                % enumerated(excluded),
                noreplicate_users=excluded,
            )

    def doubles(self, listed, names):
        """Return the listed names that are not among the names, but another spelling of the account of one.

        The userdb is only asked when a listed name differs from one of the names in nothing but case.
        """
        candidates = differing_in_case(listed, names)
        if not candidates:
            return set()
        spelt = self.userdb.find(candidates.union(names))
        wanted = {spelt.get(name, name) for name in names}
        return {name for name in candidates if spelt.get(name) in wanted}

    def hang_up(self):
        """Have the replicator connected anew when it is needed next."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def incarnation(self):
        """Return what changes when the Dovecot of this host is reloaded or restarted, None where nothing tells."""
        return None if self.transport == "http" else incarnation(self.socket_path)

    def watch(self, state=None):
        """Return the replicator as a Watch; ``state`` as that has it."""
        again = self._ask_again and (lambda names: self._ask_again(self, names))
        return Watch(self, again, self._client is not None, state)

    def wait(self, names, seconds, result, until=ENDED):
        """Wait, add the outcome to the result, and fail when it is not what was waited for.

        In slices neither the end of one nor its outcome is a failure: ``waiting`` in the result says how to go on. In
        check mode there is one look, and nothing is a failure.
        """
        now = 0 if self.check_mode else min(seconds, self._slice.get("seconds", seconds))
        watch = self.watch(self._slice.get("state"))
        outcome = wait_for_syncs(watch, names, now, self.params["user_mask"], until)
        reasons = self._reasons_for_dropping(outcome.dropped)
        result.update(outcome.as_result(), dropped_reasons=reasons, restarts=watch.state["restarts"])
        if self.check_mode:
            return
        if self._slice:
            rest = until.rest(outcome)
            result["waiting"] = dict(
                names=rest, total=seconds, until=list(until), asks=bool(self._ask_again), state=watch.state
            )
            return
        if result["restarts"] and not self._ask_again:
            self.warn(MAY_BE_LOST)
        problem = until.verdict(outcome, reasons, watch.state["trouble"])
        if problem:
            self.fail(problem, transport=self.transport, **result)

    def _reasons_for_dropping(self, names):
        """Return why the replicator has dropped each of the names, a dict; an empty one where the userdb is silent."""
        if not names:
            return {}
        try:
            accounts = self.userdb.accounts(names)
        except DovecotError:
            return {}
        return {name: reason_for_dropping(accounts.get(name)) for name in names}

    @property
    def _slice(self):
        return self.params.get("_wait_slice") or {}

    def _go_on_waiting(self):
        result = dict(changed=False)
        waiting = self._slice
        self.wait(waiting["names"], waiting["seconds"], result, Until(*waiting["until"]))
        return result

    def warn(self, text):
        self.module.warn(text)

    def fail(self, message, **result):
        self.module.fail_json(msg=message, invocation=self._invocation(), **result)

    def _invocation(self):
        """Return the options as a result repeats them.

        ansible-core before 2.21 does that in every result, and a list of all users is megabytes in each job event.
        """
        options = dict(self.params)
        if len(options.get("users") or ()) > NAMED_IN_MESSAGES:
            options["users"] = [enumerated(options["users"])]
        return dict(module_args=options)

    def _close(self):
        for connection in (self._client, self._userdb):
            if connection is not None:
                connection.close()


def http_transport():
    """Return the module of the transport ``http``.

    It is imported only where it is used: http.client and ssl would be a tenth of the time that any other task takes.
    """
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _http_client

    return _http_client


def check_numbers(params, longest_silence):
    """Raise DovecotError for a number that is too small to mean anything."""
    for option in sorted(params):
        value = params[option]
        if isinstance(value, (int, float)) and value < 0:
            raise DovecotError("Reading %s" % option, "%s is negative" % value, cure="give 0 or more")
    if longest_silence == 0:
        raise DovecotError("Reading timeout", "no answer comes in 0 seconds", cure="give some seconds")


def chosen_transport(params, of_mail=False):
    """Return the transport that the options ask for; raise DovecotError when they contradict each other.

    Mail is read by doveadm where ``socket`` is asked for, so that defaults for all modules can be given.
    """
    for_doveadm = [option for option in ("settings", "debug") if params[option]]
    transport = params["transport"]
    if transport == "auto":
        transport = "http" if params["api_url"] else "doveadm" if for_doveadm else "socket"
    if of_mail and transport == "socket":
        transport = "doveadm"
    if for_doveadm and transport != "doveadm":
        raise DovecotError(
            "Choosing the transport",
            "%s is for transport=doveadm, and %s has nothing like it" % (" and ".join(for_doveadm), transport),
        )
    return transport
