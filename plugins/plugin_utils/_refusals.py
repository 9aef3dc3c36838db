# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role refuses before it changes anything. Pure. PRIVATE to this collection.

Each refusal is a function that yields the evidence where it applies, as the rules of ``verify`` do (_diagnosis.py).
They stand in the order in which a person should read them: causes before what follows from them.
"""

import re
from typing import Callable, Iterator, List, NamedTuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SERVICE, TIMER_ENGINE
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import Side

PEER_NAME = re.compile(r"[^ :/@%]+\Z")
LINE_BREAK = re.compile(r"[\r\n\0]")
ADDRESS_OR_NETWORK = re.compile(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?\Z")
# A number above 0 with a unit of Dovecot's.
INTERVAL = re.compile(r"[1-9][0-9]* *(s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?|w|weeks?)\Z", re.IGNORECASE)
# The owner reads and writes, others have no rights.
SOCKET_MODE = re.compile(r"0?[67][0-7]0\Z")
# The first release whose HTTP API has commands for the replicator.
API_SINCE = (2, 3, 17)

Look = Callable[[Side], Iterator[str]]


class Refusal(NamedTuple):
    """What is refused.

    :arg id: a stable name
    :arg reason: why it cannot work, a sentence
    :arg cure: what to do, the start of a sentence in the imperative
    :arg look: yields the evidence from a Side, where it applies
    :arg always: whether it is refused even where replication is taken away, whatever has become of the peer
    """

    id: str
    reason: str
    cure: str
    look: Look
    always: bool

    def message(self, side: Side, evidence: str) -> str:
        """Return evidence, reason and cure as one text."""
        return f"{evidence.rstrip('.')}. {self.reason} Next step: {self.cure.format(side=side)}."


REFUSALS: List[Refusal] = []


def refusal(name: str, reason: str, cure: str, always: bool = False) -> Callable[[Look], Look]:
    """Make a function a refusal; ``cure`` may name fields of the ``side``."""

    def add(look: Look) -> Look:
        REFUSALS.append(Refusal(name, reason, cure, look, always))
        return look

    return add


def refused(side: Side) -> List[dict]:
    """Return what is refused, a list of dicts of ``id`` and ``message``; the first one is to be told."""
    return [
        {"id": item.id, "message": item.message(side, evidence)}
        for item in REFUSALS
        if side.is_present or item.always
        for evidence in item.look(side)
    ]


# The run


@refusal(
    "not_root",
    "Only root may write Dovecot's configuration and ask its userdb for all users.",
    "set `become: true` in the play, or log in as root with ansible_user",
    always=True,
)
def _not_root(side: Side) -> Iterator[str]:
    if not side.observed["is_root"]:
        yield f"The role's tasks run on {side.name} as the user {side.observed['task_user']}"


# Dovecot


@refusal(
    "timer_and_replicator",
    "Before 2.4 Dovecot has a replicator, which syncs each change at once.",
    "leave replication_engine at auto on {side.name}, and the replicator is used",
)
def _timer_and_replicator(side: Side) -> Iterator[str]:
    if side.replication_engine == TIMER_ENGINE and side.dovecot_version is not None and not side.is_2_4:
        yield f"replication_engine is timer, and this is Dovecot {side.observed['dovecot_version']}"


@refusal(
    "excluded_and_replicator",
    "Dovecot's replicator syncs all users but those whose userdb entry has noreplicate=y.",
    "leave replication_excluded_users out for {side.name}, and give these users that field in the userdb of both hosts",
)
def _excluded_and_replicator(side: Side) -> Iterator[str]:
    if side.replication_excluded_users and side.is_present and not side.by_syncer:
        yield "replication_excluded_users is set, and this host has a replicator"


@refusal(
    "sweep_without_pause",
    "A sweep over all users needs its time.",
    "give replication_sweep_interval 60 or more; it is seconds",
)
def _sweep_without_pause(side: Side) -> Iterator[str]:
    if side.by_service and side.replication_sweep_interval < 60:
        yield f"replication_sweep_interval is {side.replication_sweep_interval}"


@refusal(
    "timer_without_pause",
    "A round over all users needs its time, and a sync some seconds.",
    "give replication_timer_interval 5 or more, and replication_timer_patience 10 or more; both are seconds",
)
def _timer_without_pause(side: Side) -> Iterator[str]:
    if side.by_syncer and (side.replication_timer_interval < 5 or side.replication_timer_patience < 10):
        yield (
            f"replication_timer_interval is {side.replication_timer_interval} and replication_timer_patience is "
            f"{side.replication_timer_patience}"
        )


@refusal(
    "syncer_of_another",
    "What syncs with Dovecot 2.4 has one name on a host, so it serves one Dovecot.",
    "give this Dovecot another host, or first run setup for the other one with replication_state: absent",
)
def _syncer_of_another(side: Side) -> Iterator[str]:
    other = side.observed.get("syncer_of_another")
    if side.by_syncer and other:
        yield f"{SERVICE} of {side.name} is of another Dovecot, as its settings are {other}"


@refusal(
    "api_of_2_4",
    "The API of Dovecot 2.4 has no commands for a replicator, so there is nothing that jobs could ask it.",
    "leave replication_api_port out for {side.name}, and let jobs use ssh",
)
def _api_of_2_4(side: Side) -> Iterator[str]:
    if side.has_api and side.is_2_4:
        yield f"This is Dovecot {side.observed['dovecot_version']}"


# The pair


@refusal(
    "no_pair",
    "A pair is exactly two hosts.",
    "put both hosts into the group, or give each of several pairs a group and name it with replication_group; where "
    "the other host is not in the inventory, name it with replication_peer",
)
def _no_pair(side: Side) -> Iterator[str]:
    if len(side.others) > 1 or side.replication_peer is None and len(side.members) != 2:
        count = len(side.members)
        yield f"The inventory group {side.replication_group} has {count} host{'' if count == 1 else 's'}"


@refusal(
    "not_a_member",
    "The role takes the other host of the group for the peer, and finds none.",
    "run the role on the hosts of the group only, or name the peer with replication_peer",
)
def _not_a_member(side: Side) -> Iterator[str]:
    if side.replication_peer is None and side.name not in side.members:
        hosts = " and ".join(side.members)
        yield f"{side.name} is not in the inventory group {side.replication_group}, which has {hosts}"


@refusal(
    "peer_malformed",
    "It must be a host name or an address, without login, port or path.",
    "correct replication_peer",
)
def _peer_malformed(side: Side) -> Iterator[str]:
    if not PEER_NAME.match(side.peer) and not side.peer_is_ipv6:
        yield f"replication_peer is '{side.peer}'"


@refusal(
    "peer_is_self",
    "Dovecot would report success and replicate nothing.",
    "name the other host",
)
def _peer_is_self(side: Side) -> Iterator[str]:
    if side.peer.lower() == side.name.lower() or side.observed["peer_is_self"]:
        how = ", ".join(side.observed["peer_addresses"]) or "the same name"
        yield f"The peer {side.peer} is this host itself ({how})"


@refusal(
    "same_hostname",
    "Dovecot uses the host's name for locks and in the names of mail files, so two hosts of one name damage each "
    "other's mailboxes.",
    "give each host its own name with `hostnamectl set-hostname NAME`",
)
def _same_hostname(side: Side) -> Iterator[str]:
    if side.peer_observed.get("hostname") == side.observed["hostname"]:
        yield f"Both hosts call themselves {side.observed['hostname']}"


# Secrets


@refusal(
    "secret_empty",
    "Dovecot cannot log in at the peer without a password.",
    "give both hosts the same long random text, from a vault",
)
def _secret_empty(side: Side) -> Iterator[str]:
    if not side.over_ssh and not side.replication_secret:
        yield "replication_secret is empty"


@refusal(
    "secret_is_no_text",
    "YAML reads 0123 as 83 and yes as true, so it may not be what you wrote. ansible-core since 2.19 does so even with "
    "the quoted values that AWX hands over.",
    "put it in quotes; in AWX, give another one, with letters",
)
def _secret_is_no_text(side: Side) -> Iterator[str]:
    if not side.secret_is_text:
        yield "replication_secret is a number or a truth value"


@refusal(
    "secret_with_line_break",
    "Dovecot's configuration cannot hold a line break in a value.",
    "remove it",
)
def _secret_with_line_break(side: Side) -> Iterator[str]:
    for variable in ("replication_secret", "replication_api_key"):
        if LINE_BREAK.search(side.wanted[variable] or ""):
            yield f"{variable} contains a line break"


@refusal(
    "secrets_differ",
    "Each host logs in at the other one with its own, and would be turned away.",
    "give both hosts the same replication_secret, such as in the variables of the group {side.replication_group}",
)
def _secrets_differ(side: Side) -> Iterator[str]:
    if side.listens and side.secret_is_steady and not side.secret_is_shared:
        yield f"{side.name} and {side.other} have different values of replication_secret"


@refusal(
    "secret_changes",
    "Both hosts need the same one, in each run. A lookup that makes a random text makes another one each time.",
    "make the secret once, and give both hosts that text, from a vault",
)
def _secret_changes(side: Side) -> Iterator[str]:
    if side.listens and not side.secret_is_steady:
        yield "replication_secret has another value each time it is used"


# The HTTP API


@refusal(
    "api_port",
    "The API needs a port of its own, between 1 and 65535, other than replication_port.",
    "choose another port, such as 8443",
)
def _api_port(side: Side) -> Iterator[str]:
    port = side.replication_api_port
    if side.has_api and not (0 < port < 65536 and (port != side.replication_port or side.over_ssh)):
        yield f"replication_api_port is {port}"


@refusal(
    "api_key_empty",
    "The API lets in whoever knows the key.",
    "give it a long random text, from a vault",
)
def _api_key_empty(side: Side) -> Iterator[str]:
    if side.has_api and not side.replication_api_key:
        yield "replication_api_port is set and replication_api_key is empty"


@refusal(
    "api_key_is_secret",
    "Whoever may look at a queue could take the place of the peer.",
    "give replication_api_key a text of its own",
)
def _api_key_is_secret(side: Side) -> Iterator[str]:
    if side.has_api and side.replication_api_key and side.replication_api_key == side.replication_secret:
        yield "replication_api_key is the same as replication_secret"


@refusal(
    "api_in_the_clear",
    "Without TLS the key of the API would cross the network in the clear.",
    "leave replication_api_tls on, or bind the API to this host with replication_api_listen: [127.0.0.1]",
)
def _api_in_the_clear(side: Side) -> Iterator[str]:
    if side.has_api and not side.replication_api_tls and not side.api_is_local:
        yield "replication_api_tls is off and the API listens beyond this host"


@refusal(
    "api_without_clients",
    "The firewall would let nobody reach the API.",
    "name the addresses from which jobs come in replication_api_clients",
)
def _api_without_clients(side: Side) -> Iterator[str]:
    if side.has_api and side.replication_firewall != "none" and not side.api_is_local:
        if not side.replication_api_clients:
            yield "replication_firewall is set and replication_api_clients is empty"


@refusal(
    "api_clients_malformed",
    "A firewall takes addresses or networks such as 192.0.2.0/24.",
    "replace each name by its address",
)
def _api_clients_malformed(side: Side) -> Iterator[str]:
    wrong = [client for client in side.replication_api_clients if not ADDRESS_OR_NETWORK.match(client)]
    if wrong:
        yield f"replication_api_clients has '{', '.join(wrong)}'"


@refusal(
    "api_commands_joined",
    "The list must have one command of doveadm in each item.",
    "make an item of each command, without commas",
)
def _api_commands_joined(side: Side) -> Iterator[str]:
    wrong = [command for command in side.replication_api_commands if "," in command]
    if wrong:
        yield f"replication_api_commands has '{wrong[0]}'"


@refusal(
    "api_too_old",
    "Its HTTP API has no commands for the replicator; they came with 2.3.17.",
    "leave replication_api_port out, and let jobs use ssh",
)
def _api_too_old(side: Side) -> Iterator[str]:
    if side.has_api and (side.dovecot_version or API_SINCE) < API_SINCE:
        yield f"This is Dovecot {side.observed['dovecot_version']}"


# The way to the peer


@refusal(
    "peer_unknown",
    "Dovecot would look the name up at each sync, and fail.",
    "on {side.name}, set replication_peer to the name or address at which it reaches the peer{side.proposed_peer}; or "
    "add {side.peer} to the DNS or to /etc/hosts",
)
def _peer_unknown(side: Side) -> Iterator[str]:
    if side.peer and not side.observed["peer_addresses"]:
        yield f"The name of the peer, {side.peer}, cannot be looked up on {side.name}"


@refusal(
    "tls_without_authority",
    "With the scheme tcps this host checks the certificate of its peer, and needs certificates to check it against.",
    "name a file of them with replication_tls_ca_file; where the peer's certificate is self-signed, that certificate",
)
def _tls_without_authority(side: Side) -> Iterator[str]:
    if side.over_tls and not side.replication_tls_ca_file:
        yield "The scheme tcps needs replication_tls_ca_file"


@refusal(
    "certificate_without_key",
    "A certificate and its key belong together.",
    "give both, or none",
)
def _certificate_without_key(side: Side) -> Iterator[str]:
    if bool(side.replication_tls_cert_file) != bool(side.replication_tls_key_file):
        yield "Only one of replication_tls_cert_file and replication_tls_key_file is set"


@refusal(
    "tls_to_ipv6_address",
    "With the scheme tcps Dovecot looks for the address with its brackets in the certificate, and never finds it.",
    "give the peer's host name as replication_peer",
)
def _tls_to_ipv6_address(side: Side) -> Iterator[str]:
    if side.over_tls and side.peer_is_ipv6:
        yield f"The peer {side.peer} is an IPv6 address"


@refusal(
    "tls_to_address_of_2_4",
    "With the scheme tcps Dovecot 2.4 looks for a host name in the certificate, and refuses one that has the address.",
    "give the peer's host name as replication_peer",
)
def _tls_to_address_of_2_4(side: Side) -> Iterator[str]:
    if side.over_tls and side.is_2_4 and side.peer_is_ipv4:
        yield f"The peer {side.peer} is an IPv4 address"


@refusal(
    "ssh_without_other",
    "The hosts exchange their keys through Ansible, so it must reach both.",
    "put both hosts into the group, even where replication_peer is set",
)
def _ssh_without_other(side: Side) -> Iterator[str]:
    if side.over_ssh and len(side.others) != 1:
        yield f"The scheme ssh needs both hosts in the inventory group {side.replication_group}"


@refusal(
    "ssh_without_client",
    "With the scheme ssh Dovecot runs it for each sync.",
    "install the OpenSSH client ({side.ssh_client_package}), or use the scheme tcps",
)
def _ssh_without_client(side: Side) -> Iterator[str]:
    if side.over_ssh and not side.observed["ssh_client"]:
        yield f"There is no command ssh on {side.name}"


@refusal(
    "ssh_without_server",
    "With the scheme ssh the peer logs in here, and must know this host by its keys.",
    "install the OpenSSH server (openssh-server), or use the scheme tcps",
)
def _ssh_without_server(side: Side) -> Iterator[str]:
    if side.over_ssh and not side.observed["ssh_host_keys"]:
        yield f"There are no public host keys /etc/ssh/ssh_host_*_key.pub on {side.name}"


@refusal(
    "ssh_without_user",
    "The peer syncs as this user.",
    "create the user, or name another with replication_ssh_user",
)
def _ssh_without_user(side: Side) -> Iterator[str]:
    if side.over_ssh and side.observed["system_user"] is None and not (side.previewing and side.replication_install):
        yield f"There is no user {side.replication_ssh_user} on this host"


@refusal(
    "ssh_without_shell",
    "sshd runs commands through the user's shell, and this one runs none.",
    "run `usermod -s /bin/sh {side.replication_ssh_user}` (the key that the role lets in can do nothing but sync), or "
    "name another user with replication_ssh_user",
)
def _ssh_without_shell(side: Side) -> Iterator[str]:
    user = side.observed["system_user"]
    if side.over_ssh and user is not None and not user["can_log_in"]:
        yield f"The shell of {side.replication_ssh_user} is {user['shell']}"


@refusal(
    "ssh_user_cannot_read",
    "Before Dovecot 2.3.17 the user must be able to read the certificate and its key.",
    "set replication_ssh_user to root (the key that the role lets in can do nothing but sync), or use the scheme tcps",
)
def _ssh_user_cannot_read(side: Side) -> Iterator[str]:
    problem = (side.observed["system_user"] or {}).get("config_problem")
    if side.over_ssh and problem:
        yield (
            f"{side.replication_ssh_user}, as whom the peer would sync over ssh, cannot read Dovecot's configuration: "
            f"{problem}"
        )


# Settings


@refusal(
    "max_conns",
    "With it Dovecot never syncs anything.",
    "give it a value of 1 or more",
)
def _max_conns(side: Side) -> Iterator[str]:
    if side.replication_max_conns is not None and side.replication_max_conns < 1:
        yield f"replication_max_conns is {side.replication_max_conns}"


@refusal(
    "full_sync_interval",
    "Dovecot takes a number above 0 with a unit; 0 would mean full syncs without a pause.",
    "write it with a unit, such as '12 hours'",
)
def _full_sync_interval(side: Side) -> Iterator[str]:
    interval = side.replication_full_sync_interval
    if interval is not None and not INTERVAL.match(interval):
        yield f"replication_full_sync_interval is '{interval}'"


@refusal(
    "dsync_parameters",
    "Every sync would fail without -d.",
    "add -d",
)
def _dsync_parameters(side: Side) -> Iterator[str]:
    parameters = side.replication_dsync_parameters
    if parameters is not None and "-d" not in parameters.split():
        yield f"replication_dsync_parameters is '{parameters}'"


@refusal(
    "socket_mode",
    "The owner must read and write, and others must have no rights: whoever may write to these sockets can stop the "
    "replication of any mailbox.",
    'write the mode as an octal number in quotes; where several users own mail, use "0660" and a group they share',
)
def _socket_mode(side: Side) -> Iterator[str]:
    for socket in side.sockets:
        if not SOCKET_MODE.match(socket.mode):
            yield f"The mode of the socket {socket.name} is '{socket.mode}'"


@refusal(
    "socket_name",
    "Dovecot knows the purpose of a socket by its name.",
    "let the last component of the path be that name",
)
def _socket_name(side: Side) -> Iterator[str]:
    for socket in side.sockets:
        if socket.path.rpartition("/")[2] != socket.name:
            yield f"The path of the socket {socket.name} is '{socket.path}'"


@refusal(
    "userdb_cannot_list",
    "Users who are not listed would not be replicated before their mail changes.",
    "make `doveadm user '*'` print all users on {side.name}, then run `systemctl reload dovecot` there: SQL needs "
    "iterate_query, which gives no NULL, LDAP needs iterate_attrs and iterate_filter (replication_iterate sets these), "
    "and a passwd-file a path without variables. Or accept it with `replication_require_iteration: false`",
)
def _userdb_cannot_list(side: Side) -> Iterator[str]:
    # replication_iterate is not in force yet.
    if side.listing_refused and side.replication_require_iteration and not side.replication_iterate:
        yield f"The running Dovecot was asked for its users: {side.listing_refused}"


@refusal(
    "chrooted",
    "From there they cannot reach Dovecot's replication-notify-fifo, so no change of mail starts a sync.",
    "give the users a home without `/./` and without the userdb field chroot on {side.name}, and run "
    "`systemctl reload dovecot` there",
)
def _chrooted(side: Side) -> Iterator[str]:
    if side.chrooted:
        yield f"Mail processes of {', '.join(side.chrooted)} run in a chroot"


@refusal(
    "iterate_sql",
    "With the driver sql replication_iterate has `query`, and only there.",
    "give `query`, or correct the driver",
)
def _iterate_sql(side: Side) -> Iterator[str]:
    iterate = side.replication_iterate
    if iterate and (iterate["driver"] == "sql") != (iterate.get("query") is not None):
        yield f"replication_iterate with the driver {iterate['driver']} has {_given(iterate)}"


@refusal(
    "iterate_ldap",
    "With the driver ldap replication_iterate has `attrs` and `filter`, and only there.",
    "give both, or correct the driver",
)
def _iterate_ldap(side: Side) -> Iterator[str]:
    iterate = side.replication_iterate
    if iterate:
        both = iterate.get("attrs") is not None and iterate.get("filter") is not None
        if (iterate["driver"] == "ldap") != both:
            yield f"replication_iterate with the driver {iterate['driver']} has {_given(iterate)}"


def _given(iterate: dict) -> str:
    given = [f"`{name}`" for name in ("query", "attrs", "filter") if iterate.get(name) is not None]
    return " and ".join(given) or "none of `query`, `attrs` and `filter`"
