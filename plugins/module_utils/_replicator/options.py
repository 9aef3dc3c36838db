# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options that the modules share. Pure. PRIVATE to this collection.

plugins/doc_fragments/replicator.py documents them.
"""

from typing import Any, Dict, Mapping, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import unpacked
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SYNCERS

Spec = Dict[str, Dict[str, Any]]
Params = Mapping[str, Any]

COMMON_OPTIONS: Spec = dict(
    transport=dict(type="str", choices=["auto", "socket", "doveadm", "http", "timer", "service"], default="auto"),
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
    use_proxy=dict(type="bool", default=True),
    timeout=dict(type="float", default=30),
)

USER_OPTIONS: Spec = dict(
    users=dict(type="list", elements="str", aliases=["name", "user"]),
    user_mask=dict(type="str"),
)

# The option that lists users, and its aliases.
USERS = {"users", *USER_OPTIONS["users"]["aliases"]}

# The action plugins hand over the users of the file, and long lists, as one text in ``_users``; see
# plugin_utils/_waiting_action.py.
LISTED_USER_OPTIONS: Spec = dict(USER_OPTIONS, users_file=dict(type="str"), _users=dict(type="str"))
# The ways to say which users a task is about.
WHICH_USERS = ["users", "users_file", "user_mask"]

# With this option the action plugins make a module wait in slices, and show progress in between; see
# plugin_utils/_waiting_action.py. ``seconds``: return after so many. The rest is what a slice has returned as
# ``waiting``: go on with that.
SLICE_OPTION: Spec = dict(_wait_slice=dict(type="dict"))

WAIT_OPTIONS: Spec = dict(
    SLICE_OPTION,
    wait=dict(type="bool", default=False),
    wait_timeout=dict(type="float", default=300),
)


def unpack_users(params: Dict[str, Any]) -> None:
    """Put the users that an action plugin has packed into ``users``; raise DovecotError where none has."""
    if params.get("_users") is not None:
        params["users"] = unpacked(params["_users"])
    elif params.get("users_file") is not None:
        raise DovecotError(
            "Reading users_file",
            "the module runs on a managed host, and the file is on the controller",
            cure="run the module as a task, so that its action plugin reads the file",
        )


def check_numbers(params: Params) -> None:
    """Raise DovecotError for a number that is too small to mean anything."""
    for option in sorted(params):
        value = params[option]
        if isinstance(value, (int, float)) and value < 0:
            raise DovecotError("Reading %s" % option, "%s is negative" % value, cure="give 0 or more")
    if params["timeout"] == 0:
        raise DovecotError("Reading timeout", "no answer comes in 0 seconds", cure="give some seconds")


def chosen_transport(params: Params, of_mail: bool = False, syncer: Optional[str] = None) -> str:
    """Return the transport that the options ask for; raise DovecotError when they contradict each other.

    :arg syncer: what the role has set up on this host, as its Dovecot has no replicator: one of SYNCERS, or None
    :arg of_mail: whether the module reads mail. doveadm then stands in for ``socket``, so that module defaults can be
        given for all modules
    """
    for_doveadm = [option for option in ("settings", "debug") if params[option]]
    transport: str = params["transport"]
    if transport == "auto":
        transport = "http" if params["api_url"] else "doveadm" if for_doveadm else "socket"
        if transport == "socket" and syncer and not params["socket_path"]:
            transport = syncer
    if of_mail and transport in ("socket", *SYNCERS):
        transport = "doveadm"
    if for_doveadm and transport != "doveadm":
        raise DovecotError(
            "Choosing the transport",
            "%s is for transport=doveadm, and %s has nothing like it" % (" and ".join(for_doveadm), transport),
        )
    return transport
