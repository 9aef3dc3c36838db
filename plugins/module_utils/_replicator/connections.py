# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to one Dovecot: its replicator, userdb, API and mail. PRIVATE to this collection."""

import os
from types import ModuleType
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import RunCommand, limited
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import (
    Doveconf,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.loaded import socket_identity
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.doveadm_client import (
    DoveadmClient,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import Params
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.socket_client import SocketClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import (
    USERDB_SOCKET,
    Accounts,
    Userdb,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.waiting import Line
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import (
    SERVICE_ENGINE,
    SYNCERS,
    TIMER_ENGINE,
    path_of,
    read_settings,
)

if TYPE_CHECKING:
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.http_client import HttpApi
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.syncer_client import (
        Syncer,
    )

SOCKET_NAME = "replicator-doveadm"
NEEDS_NO_TLS = ("https:", "http://127.", "http://localhost", "http://[::1]")
KEY_IN_CLEAR = "The key in api_key crosses the network in clear: give api_url as https and the listener ssl = yes."


class Connections(Line):
    """The Dovecot that the options name. Each connection is made when it is needed first. Raises DovecotError.

    :arg params: the common options
    :arg transport: ``socket``, ``doveadm``, ``http``, ``timer`` or ``service``
    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    :arg timeout_path: path of timeout(1), None where there is none
    :arg warn: function of a text
    """

    def __init__(
        self,
        params: Params,
        transport: str,
        run_command: RunCommand,
        timeout_path: Optional[str],
        warn: Callable[[str], object],
    ) -> None:
        self.transport = transport
        self.run_command = run_command
        self.doveconf = Doveconf(
            run_command, params["config_file"], params["instance"], params["settings"], params["doveadm_path"]
        )
        # The lines that doveadm has printed besides its answers.
        self.printed: List[str] = []
        self._params = params
        self._timeout_path = timeout_path
        self._warn = warn
        self._base_dir: Optional[str] = None
        self._client: Optional[ReplicatorClient] = None
        self._userdb: Optional[Accounts] = None
        self._api: "Optional[HttpApi]" = None
        self._syncer: "Optional[Syncer]" = None

    @property
    def base_dir(self) -> str:
        """Directory of the sockets: that of the socket that was named, else the one in the configuration."""
        if self._base_dir is None:
            beside = os.path.dirname(self._params["socket_path"] or "")
            named = beside and os.path.exists(os.path.join(beside, USERDB_SOCKET))
            self._base_dir = beside if named else self.doveconf.base_dir()
        return self._base_dir

    @property
    def socket_path(self) -> str:
        """Path of the replicator's socket."""
        return self._params["socket_path"] or os.path.join(self.base_dir, SOCKET_NAME)

    def has_socket(self) -> bool:
        """Tell whether the replicator has a socket; it is taken for granted where none is asked."""
        return self.transport in ("http", *SYNCERS) or os.path.exists(self.socket_path)

    @property
    def syncer(self) -> "Syncer":
        """What stands in for a replicator; raise DovecotError where the role has set up nothing."""
        if self._syncer is None:
            self._syncer = self._new_syncer()
        return self._syncer

    def _new_syncer(self) -> "Syncer":
        path = path_of(self._params["config_file"])
        try:
            return syncer_clients().Syncer(read_settings(path))
        except (OSError, ValueError) as error:
            raise DovecotError(
                "Reading %s" % path,
                error,
                "the role has not set up what syncs this host, or its file was changed",
                "run `ansible-playbook mailops.dovecot_replication.setup`",
            ) from error

    @property
    def client(self) -> ReplicatorClient:
        """The replicator, through the transport."""
        if self._client is None:
            self._client = self.connected()
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether the replicator has been asked and not hung up on since."""
        return self._client is not None

    def connected(self) -> ReplicatorClient:
        """Return a client with a connection of its own."""
        if self.transport == "socket":
            return SocketClient(self.socket_path, self._params["timeout"])
        if self.transport == "http":
            client: ReplicatorClient = http_transport().HttpClient(self.api, self._params["socket_path"])
            return client
        if self.transport in SYNCERS:
            # The guard of a full sync talks to it from a process of its own.
            syncer, clients = self._new_syncer(), syncer_clients()
            if self.transport == TIMER_ENGINE:
                return clients.TimerClient(syncer, self.run_command)
            return clients.ServiceClient(syncer, self._params["timeout"])
        return DoveadmClient(self.run_command, self.doveadm(), self._params["socket_path"], self.printed)

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client = None

    def socket_identity(self) -> object:
        return None if self.transport in ("http", *SYNCERS) else socket_identity(self.socket_path)

    def doveadm(self) -> List[str]:
        """Return doveadm with its global options, with a limit on the longest silence."""
        debug = ["-D"] if self._params["debug"] else []
        return limited(self.doveconf.doveadm() + debug, self._params["timeout"], self._timeout_path)

    @property
    def api(self) -> "HttpApi":
        """doveadm's HTTP API, for the transport of that name."""
        if self._api is None:
            self._api = self._new_api()
        return self._api

    def _new_api(self) -> "HttpApi":
        params = self._params
        if not params["api_url"] or not params["api_key"]:
            # Both are given, but may be empty.
            raise DovecotError("Choosing the transport", "the API needs api_url and api_key, and one has no value")
        if not params["api_url"].startswith(NEEDS_NO_TLS):
            self._warn(KEY_IN_CLEAR)
        api: "HttpApi" = http_transport().HttpApi(
            params["api_url"],
            params["api_key"],
            params["timeout"],
            params["ca_path"],
            params["validate_certs"],
            params["use_proxy"],
        )
        return api

    @property
    def userdb(self) -> Accounts:
        """The user databases of the Dovecot whose replicator this is."""
        if self._userdb is None:
            if self.transport == "http":
                self._userdb = http_transport().HttpUserdb(self.api)
            else:
                is_kept_out = self.syncer.is_kept_out if self.transport in SYNCERS else None
                self._userdb = Userdb(self.base_dir, self._params["timeout"], is_kept_out)
        return self._userdb

    def where(self) -> Dict[str, Any]:
        """Return the version of Dovecot and the path of the socket, None where the transport does not tell."""
        if self.transport == "http":
            return dict(dovecot_version=None, socket_path=self._params["socket_path"])
        if self.transport in SYNCERS:
            path = self.syncer.settings.socket if self.transport == SERVICE_ENGINE else None
            return dict(dovecot_version=self.doveconf.version(), socket_path=path)
        return dict(dovecot_version=self.doveconf.version(), socket_path=self.socket_path)

    def on_hold(self) -> Optional[bool]:
        """Return whether the configuration keeps syncs from being started, None where it cannot be read."""
        if self.transport == "http":
            return None
        if self.transport in SYNCERS:
            return self.syncer.on_hold()
        try:
            return self.doveconf.get("replication_max_conns") == "0"
        except DovecotError:
            return None

    def require_replicator(self) -> None:
        """Raise DovecotError where this Dovecot has no replicator, for a module that does not ask it anything."""
        if self.transport == "http":
            self.client.overview()
        elif self.transport in SYNCERS:
            self.syncer.facts()
        else:
            self.doveconf.refuse_without_replicator()

    def explained(self, error: DovecotError) -> str:
        """Return the message of a failure. A Dovecot without a replicator explains any failure on its host."""
        # Who names a socket means what listens there.
        if self.transport not in ("http", *SYNCERS) and not self._params["socket_path"]:
            try:
                self.doveconf.refuse_without_replicator()
            except DovecotError as gone:
                return str(gone)
        return str(error)

    def close(self) -> None:
        """Close all connections."""
        for connection in (self._client, self._userdb, self._syncer):
            if connection is not None:
                connection.close()


def syncer_clients() -> ModuleType:
    """Return the module of the transports ``timer`` and ``service``, imported where it is used as the other one."""
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import syncer_client

    return syncer_client


def http_transport() -> ModuleType:
    """Return the module of the transport ``http``.

    It is imported only where it is used: http.client and ssl would be a tenth of the time that any other task takes.
    """
    from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import http_client

    return http_client
