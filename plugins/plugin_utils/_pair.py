# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role does to one host of a pair, decided as a whole. Pure. PRIVATE to this collection.

``decide`` takes what is wanted and what was observed, a Side, and returns the Pair, whose fields the tasks of the role
read. No condition of the role stands elsewhere, but for those on what a task before has changed.
"""

import json
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import DROP_IN, SETTINGS_FILE
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SERVICE, TIMER
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._refusals import refused
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._side import (
    STATE_DIR,
    SYNC_COMMANDS,
    Opening,
    Side,
    is_2_4,
)

# Protocols whose processes change mail.
CHANGING_MAIL = ["lda", "lmtp", "imap", "pop3", "doveadm"]
# The packages of Dovecot by family of operating system.
PACKAGES = {
    "debian": ["dovecot-core", "dovecot-imapd", "dovecot-lmtpd"],
    "redhat": ["dovecot"],
    "alpine": ["dovecot", "dovecot-lmtpd"],
}

# Of the settings, in the syntax before Dovecot 2.4, and since.
TEMPLATES = ("replication.conf.j2", "replication-2.4.conf.j2")
# Of settings that the role leaves to the administrator.
PLACE_FOR_MAIL: Dict[str, Any] = {
    "setting": "mail_location",
    "matches": ".",
    "wanted": "be set",
    "because": "Dovecot then looks for the mail of each user, finds none on the peer, and each sync fails there; set "
    "it to where mail is, such as `mail_location = maildir:~/Maildir`",
}
NO_CHROOT: Dict[str, Any] = {
    "setting": "mail_chroot",
    "matches": r"\Z",
    "wanted": "be empty",
    "because": "from a chroot mail processes cannot reach Dovecot's replication-notify-fifo; no change starts a sync",
}
BEYOND_LOOPBACK: Dict[str, Any] = {
    "setting": "listen",
    "matches": r"(?!(?:(?:127[.][0-9.]+|::1|localhost)(?:[, ]+|\Z))+\Z)",
    "wanted": "have an address that the peer reaches",
    "because": "the peer cannot connect to this host alone; give the listener of replication addresses of its own with "
    "`replication_listen: ['*', '::']`",
}
# What a userdb of 2.4 that finds a user has, by driver. Beside one of another name our block would be a userdb itself.
LOOK_UP = {"sql": "query", "ldap": "filter"}
OF_ITERATE: Dict[str, Any] = {
    "matches": "(?s).",
    "wanted": "be set",
    "because": "with Dovecot 2.4 replication_iterate adds to that userdb, which must have the name of its driver",
}
TOLD: Dict[str, Any] = {
    "protocols": CHANGING_MAIL,
    "because": "the service is not told of changes that such processes make; use `mail_plugins {` with the names of "
    "plugins in it, which adds to those of the role, where `mail_plugins =` takes their place",
}
TLS_AT_ALL: Dict[str, Any] = {
    "setting": "ssl",
    "matches": r"(?!no\Z)",
    "wanted": "not be no",
    "because": "Dovecot 2.4 then opens no listener with TLS, and only warns of it; set `ssl = yes`, and where IMAP is "
    "to stay without TLS, `ssl = no` inside `protocol imap`",
}
SYNCS_ALLOWED: Dict[str, Any] = {
    "setting": "doveadm_allowed_commands",
    "matches": r"\Z|" + "".join(rf"(?=(?:.*[, ])?{command}(?:[, ]|\Z))" for command in SYNC_COMMANDS),
    "wanted": "be empty or allow sync and dsync-server",
    "because": "Dovecot would refuse the peer's syncs; append `,sync,dsync-server` to the value",
    "protocols": ["doveadm"],
}

# Renders a template of the role, by its name, with a Side as ``side``.
Render = Callable[[str, Side], str]


class Needs(NamedTuple):
    """Which files of tasks have something to do, whatever changes in the configuration.

    :arg preflight: before the configuration: install Dovecot, read the peer's host keys
    :arg follow_up: any of those after the configuration
    :arg access: let the peer in: SELinux, firewall, ssh
    :arg finish: check what runs now, verify, or remove what is left
    :arg syncer: have what syncs, or remove what is there
    """

    preflight: bool
    follow_up: bool
    access: bool
    finish: bool
    syncer: bool


class Pair(NamedTuple):
    """What the tasks of the role read, all of it JSON.

    :arg refused: why nothing can be done, dicts of ``id`` and ``message``; with one the rest means nothing
    :arg peer_seen: whether what was observed on the other host is part of this decision
    :arg present: whether the hosts replicate, or replication is taken away
    :arg other: the other host in the inventory, empty where it is not there
    :arg packages: what to install, empty where Dovecot is there or is not to be installed
    :arg config: options of the module dovecot_config, but for the secrets
    :arg secrets: names of the settings that take a secret
    :arg replicator_socket: path of the replicator's socket, below base_dir when it is relative
    :arg known_hosts_file: where the peer's host keys are written for ssh
    :arg dsync_server_file: what the peer's ssh key may run
    :arg ssh: whether the hosts reach each other over ssh
    :arg ssh_keys_file: the authorized keys of the user as whom the peer syncs
    :arg ssh_keys_left: such files of other users, who let the peer in before
    :arg selinux_ports: dicts of ``port`` and ``open``, empty without SELinux
    :arg openings: dicts of ``address``, ``port`` and ``open`` for the firewall
    :arg nftables: path of the ``file`` of rules, the text of the ``rules`` and of the addition to the ``unit``; both
        texts are empty where nothing is open
    :arg api_url: where this host reaches its own HTTP API, empty without one
    :arg by_syncer: whether a timer or service of ours starts the syncs, and not Dovecot's replicator
    :arg syncer: the ``program``, the ``state_dir``, the names of ``service`` and ``timer``, and ``files``: dicts of
        ``path`` and ``content``, which is empty for those that shall not be there
    :arg needs: a Needs as a dict
    """

    refused: List[Dict[str, str]]
    peer_seen: bool = False
    present: bool = False
    other: str = ""
    packages: List[str] = []
    config: Dict[str, Any] = {}
    secrets: List[str] = []
    replicator_socket: str = ""
    known_hosts_file: str = ""
    dsync_server_file: str = ""
    ssh: bool = False
    ssh_keys_file: str = ""
    ssh_keys_left: List[str] = []
    selinux_ports: List[Dict[str, Any]] = []
    openings: List[Dict[str, Any]] = []
    nftables: Dict[str, str] = {}
    api_url: str = ""
    by_syncer: bool = False
    syncer: Dict[str, Any] = {}
    needs: Dict[str, bool] = {}


def decide(side: Side, render: Render) -> Pair:
    """Return what is to be done on a host."""
    reasons = refused(side)
    if reasons:
        return Pair(refused=reasons)
    opened = [opening for opening in side.openings if opening.open]
    return Pair(
        refused=[],
        peer_seen=bool(side.peer_observed),
        present=side.is_present,
        other=side.other,
        packages=packages(side),
        config=configuration(side, render),
        secrets=(["doveadm_password"] if side.listens else []) + (["doveadm_api_key"] if side.has_api else []),
        replicator_socket=side.sockets[0].path,
        known_hosts_file=side.known_hosts_file,
        dsync_server_file=side.dsync_server_file,
        ssh=side.over_ssh,
        ssh_keys_file=side.ssh_keys_file,
        ssh_keys_left=side.ssh_keys_left,
        selinux_ports=selinux_ports(side),
        openings=[opening._asdict() for opening in side.openings],
        nftables=nftables(side, opened, render),
        api_url=side.api_own_url if side.has_api else "",
        by_syncer=side.by_syncer,
        syncer=syncer(side, render),
        needs=needs(side)._asdict(),
    )


def needs_peer(decision: Mapping[str, Any], peer: Mapping[str, Any]) -> bool:
    """Tell whether a decision would be another one with what was observed on the other host.

    :arg decision: a Pair as a dict, with what was ``observed``
    :arg peer: what was observed on the other host, empty where that is not known
    """
    if not peer or decision["peer_seen"]:
        return False
    own = decision["observed"]
    # A host with a replicator syncs in another way with a peer that has none, and no longer so once that has one again.
    syncs_otherwise = is_2_4(parse_version(peer["dovecot_version"] or "")) or own.get("dsync_parameters") is not None
    return peer["hostname"] == own["hostname"] or not decision["by_syncer"] and syncs_otherwise


def needs(side: Side) -> Needs:
    access = (
        side.observed["selinux"]
        or side.replication_firewall != "none"
        or side.over_ssh
        or bool(side.ssh_keys_left)
        # The key of this host goes with the rest.
        or not side.is_present
    )
    finish = (
        not side.is_present
        or side.has_api
        or side.replication_verify
        or not side.replication_require_iteration
        or not side.is_in_service
    )
    syncer = side.by_syncer or side.has_syncer
    return Needs(
        preflight=side.to_be_installed or side.over_ssh,
        follow_up=access or finish or syncer,
        access=access,
        finish=finish,
        syncer=syncer,
    )


def syncer(side: Side, render: Render) -> Dict[str, Any]:
    """Return what the tasks need to have a timer or a service, or to remove it."""
    settings = json.dumps(side.syncer_settings._asdict(), indent=2) + "\n" if side.by_syncer else ""
    units = {
        path: render(template, side) if side.by_syncer and template else ""
        for path, template in side.syncer_units.items()
    }
    return {
        "program": side.program,
        "state_dir": STATE_DIR,
        "service": SERVICE,
        "timer": TIMER,
        "unit": SERVICE if side.by_service else TIMER,
        "files": [
            {"path": path, "content": text} for path, text in {side.syncer_settings_file: settings, **units}.items()
        ],
    }


def packages(side: Side) -> List[str]:
    if not side.to_be_installed:
        return []
    return side.replication_packages or PACKAGES.get(side.observed["os_family"], [])


def configuration(side: Side, render: Render) -> Dict[str, Any]:
    """Return the options of the module dovecot_config, but for the secrets."""
    sockets = side.sockets if side.is_present and not side.by_syncer else []
    return {
        "config_file": side.config_file,
        "settings": settings(side, render),
        "files": files(side, render),
        "blocks": blocks(side, render),
        "secrets_file": side.secrets_file,
        "expect": expectations(side),
        "forbid": forbidden(side),
        "require_iteration": side.is_present and side.replication_require_iteration,
        "require_certificates": certificates(side),
        "require_authorities": [side.replication_tls_ca_file] if side.over_tls else [],
        "require_users": unique([socket.user for socket in sockets]),
        "require_groups": unique([socket.group for socket in sockets if socket.is_for_its_group]),
        "missing_ok": side.replication_install,
    }


def settings(side: Side, render: Render) -> Dict[str, Any]:
    """Return the settings, where the module dovecot_config may write them, and what it does about those of others."""
    others = "comment_out" if side.replication_take_over else "refuse"
    if side.replication_give_back and not side.is_present:
        others = "put_back"
    return {
        "content": render(TEMPLATES[side.is_2_4], side) if side.is_present else "",
        "drop_in": f"{side.replication_config_dir}/conf.d/{DROP_IN}",
        "file": f"{side.replication_config_dir}/{SETTINGS_FILE}",
        "protocols": CHANGING_MAIL,
        # They announce changes to the replicator.
        "plugins": [] if side.by_syncer else ["notify", "replication"],
        "others": others,
    }


def files(side: Side, render: Render) -> List[Dict[str, Any]]:
    """Return what the role writes or removes below Dovecot's directory beside settings and secrets."""

    def file(path: str, template: str, wanted: bool, mode: Optional[str] = None) -> Dict[str, Any]:
        content = {"state": "present", "content": render(template, side)} if wanted else {"state": "absent"}
        return {"path": path, **content, **({"mode": mode} if mode else {})}

    own = [
        file(side.known_hosts_file, "known-hosts.j2", side.over_ssh),
        file(side.dsync_server_file, "dsync-server.sh.j2", side.over_ssh, "0755"),
    ]
    # What the playbook drain has written outlives setup, and goes with the rest.
    hold = {"path": side.hold_file, "state": "absent"}
    return own if side.is_present else [*own, hold]


def blocks(side: Side, render: Render) -> List[Dict[str, str]]:
    """Return what the role adds to a file of the administrator's."""
    iterate = side.replication_iterate
    if not iterate or side.is_2_4:
        return []
    return [{"path": iterate["file"], "content": render("iterate.j2", side) if side.is_present else ""}]


def expectations(side: Side) -> List[Dict[str, Any]]:
    """Return what Dovecot must say of the configuration beyond the assignments in our file."""
    if not side.is_present:
        return []
    expected: List[Dict[str, Any]] = []
    if side.replication_base_dir:
        expected.append({"setting": "base_dir", "value": side.replication_base_dir})
    if side.by_service:
        expected.append({"setting": "mail_plugins/push_notification", "value": "yes", **TOLD})
    if side.is_2_4 and side.replication_iterate:
        driver = side.replication_iterate["driver"]
        expected.append({"setting": f"userdb/{driver}/{LOOK_UP[driver]}", **OF_ITERATE})
    if side.has_api:
        if not side.replication_api_listen:
            expected.append({"setting": "service/doveadm/inet_listener/http/address", "value": ""})
        if side.allowed_commands:
            expected.append(
                {
                    "setting": "doveadm_allowed_commands",
                    "value": side.allowed_commands,
                    "protocols": ["doveadm"],
                    "because": "it limits what the key of the API can be used for",
                }
            )
    return expected + theirs(side)


def theirs(side: Side) -> List[Dict[str, Any]]:
    """Return what must be true of settings that are the administrator's, which the role does not replace."""
    expected = [] if side.by_syncer else [NO_CHROOT]
    if side.mail_is_by_setting and not side.is_2_4:
        expected.append(PLACE_FOR_MAIL)
    if side.over_tls and side.is_2_4:
        expected.append(TLS_AT_ALL)
    if side.listens and not side.replication_listen:
        expected.append(BEYOND_LOOPBACK)
    if not (side.has_api and side.allowed_commands):
        expected.append(SYNCS_ALLOWED)
    return expected


def forbidden(side: Side) -> List[Dict[str, str]]:
    """Return the settings that must stand nowhere."""
    if not side.is_present:
        return []
    because = "with it the replicator takes all memory and dies at the first mail, in every release; remove it"
    found = [{"setting": "replication_sync_timeout", "because": because}]
    if not side.replication_accept_mbox:
        because = (
            "Dovecot 2.3 panics when it syncs mbox, and mail is missing then on the peer; convert the mail to another "
            "format first, or accept this with `replication_accept_mbox: true`"
        )
        # Up to 2.3, and in 2.4.
        places = [("mail_location", "mbox:"), ("location", "mbox:"), ("mail_driver", "mbox")]
        found += [{"setting": name, "value_begins": value, "because": because} for name, value in places]
    return found


def certificates(side: Side) -> List[Dict[str, str]]:
    """Return what must fit: Dovecot's doveadm service has one certificate, for syncs and the API."""
    if not side.replication_tls_cert_file:
        return []
    names = ([side.own_name] if side.over_tls else []) + ([side.api_name] if side.api_over_tls else [])
    both = {"certificate": side.replication_tls_cert_file, "key": side.replication_tls_key_file}
    return [{**both, "name": name} for name in unique(names)]


def selinux_ports(side: Side) -> List[Dict[str, Any]]:
    if not side.observed["selinux"]:
        return []
    ports = [
        {"port": side.replication_port, "open": side.listens},
        {"port": side.replication_api_port, "open": side.has_api},
    ]
    return [port for port in ports if port["port"]]


def nftables(side: Side, opened: List[Opening], render: Render) -> Dict[str, str]:
    if not opened or side.replication_firewall != "nftables":
        return {"file": side.nftables_file, "rules": "", "unit": ""}
    return {
        "file": side.nftables_file,
        "rules": render("nftables.nft.j2", side),
        "unit": render("nftables.unit.j2", side),
    }


def unique(items: List[str]) -> List[str]:
    return list(dict.fromkeys(items))
