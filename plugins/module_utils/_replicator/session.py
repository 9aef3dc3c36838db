# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The frame of a module: from its options to its result. PRIVATE to this collection."""

from typing import Any, Callable, Collection, Dict, List, Optional, Set

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    TaskFailed,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import (
    NAMED_IN_MESSAGES,
    check_names,
    enumerated,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import Doveconf
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import userdb_policy
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.connections import Connections
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.options import (
    COMMON_OPTIONS,
    Params,
    Spec,
    check_numbers,
    chosen_transport,
    unpack_users,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.slices import Wait
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import Accounts
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import engine_at, path_of

Work = Callable[["Session"], Dict[str, Any]]
AskAgain = Callable[["Session", List[str]], object]


class Session:
    """One task against one Dovecot.

    :arg module: the AnsibleModule
    :arg connections: to that Dovecot
    :arg ask_again: as ``run`` has it
    """

    def __init__(self, module: Any, connections: Connections, ask_again: Optional[AskAgain] = None) -> None:
        self.module = module
        self.params: Params = module.params
        self.connections = connections
        again = (lambda names: ask_again(self, names)) if ask_again else None
        self.wait = Wait(
            connections,
            self.params.get("user_mask"),
            self.params.get("_wait_slice"),
            self.check_mode,
            again,
            self.warn,
        )

    @classmethod
    def run(
        cls,
        work: Work,
        argument_spec: Spec,
        of_mail: bool = False,
        ask_again: Optional[AskAgain] = None,
        **kwargs: Any,
    ) -> None:
        """Run a module: ``work`` takes the Session and returns the result; any failure ends in one message.

        :arg of_mail: whether the module reads mail, which the replicator's socket does not have
        :arg ask_again: function of the Session and names, for which to ask again when a restart has broken off a wait
        """
        module = AnsibleModule(
            argument_spec=dict(COMMON_OPTIONS, **argument_spec),
            supports_check_mode=True,
            required_together=[["api_url", "api_key"]],
            required_if=[["transport", "http", ["api_url", "api_key"]]],
            **kwargs,
        )
        module.run_command_environ_update = dict(LANG="C", LC_ALL="C")
        repeated = dict(module_args=_repeated(module.params))
        connections = None
        try:
            unpack_users(module.params)
            check_numbers(module.params)
            syncer = engine_at(path_of(module.params["config_file"]))
            transport = chosen_transport(module.params, of_mail, syncer)
            connections = Connections(
                module.params, transport, module.run_command, module.get_bin_path("timeout"), module.warn
            )
            session = cls(module, connections, ask_again)
            result = session.wait.go_on() if session.wait.goes_on else work(session)
            result["transport"] = transport
            if module.params["debug"]:
                result["debug_log"] = connections.printed
        except TaskFailed as failure:
            module.fail_json(msg=failure.message, invocation=repeated, **failure.result)
        except DovecotError as error:
            text = connections.explained(error) if connections and not of_mail else str(error)
            module.fail_json(msg=text, invocation=repeated)
        finally:
            if connections:
                connections.close()
        module.exit_json(invocation=repeated, **result)

    @property
    def check_mode(self) -> bool:
        return bool(self.module.check_mode)

    @property
    def transport(self) -> str:
        return self.connections.transport

    @property
    def client(self) -> ReplicatorClient:
        return self.connections.client

    @property
    def userdb(self) -> Accounts:
        return self.connections.userdb

    @property
    def doveconf(self) -> Doveconf:
        return self.connections.doveconf

    @property
    def base_dir(self) -> str:
        return self.connections.base_dir

    def where(self) -> Dict[str, Any]:
        """As ``Connections.where``."""
        return self.connections.where()

    def require_replicator(self) -> None:
        """As ``Connections.require_replicator``."""
        self.connections.require_replicator()

    def named_users(self) -> Optional[List[str]]:
        """Return the names given as ``users``, or None; raise DovecotError for a mask among them."""
        users: Optional[List[str]] = self.params["users"]
        if users is not None:
            check_names(users)
        return users

    def known_to_userdb(self, names: Collection[str], listed: Collection[str] = ()) -> List[str]:
        """As the function of that name in userdb_policy."""
        return userdb_policy.known_to_userdb(self.userdb, names, listed)

    def refuse_noreplicate(self, names: Collection[str]) -> None:
        """As the function of that name in userdb_policy."""
        userdb_policy.refuse_noreplicate(self.userdb, names)

    def duplicate_spellings(self, listed: Collection[str], names: Collection[str]) -> Set[str]:
        """As the function of that name in userdb_policy."""
        return userdb_policy.duplicate_spellings(self.userdb, listed, names)

    def warn(self, text: str) -> None:
        self.module.warn(text)


def _repeated(params: Params) -> Dict[str, Any]:
    """Return the options as a result repeats them.

    ansible-core before 2.21 does that in every result, and a list of all users is megabytes in each job event.
    """
    options = {name: value for name, value in params.items() if name != "_users"}
    users = options.get("users") or []
    if len(users) > NAMED_IN_MESSAGES:
        options["users"] = [enumerated(users)]
    return options
