# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a pair: what is wanted of it, what was observed on it, and what follows from both. Pure. PRIVATE."""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple
from urllib.parse import urlsplit

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import (
    GONE_SINCE,
    parse_version,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    DSYNC_SERVER_FILE,
    HOLD_FILE,
    SECRETS_FILE,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.spelling import seconds_in
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.host import AUTHORIZED_KEYS
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import (
    FILE,
    SERVICE,
    SERVICE_ENGINE,
    SYNCERS,
    TIMER,
    TIMER_ENGINE,
    Settings,
)

IPV6 = re.compile(r"[0-9A-Fa-f.]*:[0-9A-Fa-f:.]+\Z")
IPV4 = re.compile(r"[0-9]+(?:[.][0-9]+){3}\Z")
LOOPBACK = re.compile(r"127[.]|::1\Z")
ANY_ADDRESS = ("*", "::", "0.0.0.0")
# A mode that gives its group no rights.
FOR_THE_OWNER = re.compile(r"0?[67]00\Z")
# Without these two no sync would work; see docs/api.md.
SYNC_COMMANDS = ("sync", "dsync-server")
NFTABLES_FILE = "/etc/dovecot-replication.nft"
# What a host without a replicator syncs with, where it keeps what it knows of users, and how.
PROGRAM = "/usr/local/sbin/dovecot-replication-syncer"
DEFAULT_CONFIG = "/etc/dovecot/dovecot.conf"
STATE_DIR = "/var/lib/dovecot-replication"
RUN_DIR = "/run/dovecot-replication"
WIDTH = 4
LOCK_PATIENCE = 30
FULL_SYNC_INTERVAL = 86400
# For dsync of a peer with Dovecot 2.4, which refuses -U of Dovecot's default.
PARAMETERS_FOR_2_4 = "-d -N -l 30"


class Socket(NamedTuple):
    """A socket or FIFO of Dovecot's replication.

    :arg service: Dovecot's service that listens there
    :arg kind: unix_listener or fifo_listener
    :arg name: by which Dovecot knows its purpose; the last component of the path
    :arg path: below base_dir when it is relative
    :arg mode: an octal number as text
    """

    service: str
    kind: str
    name: str
    path: str
    mode: str
    user: str
    group: str

    @property
    def is_for_its_group(self) -> bool:
        return not FOR_THE_OWNER.match(self.mode)


class Opening(NamedTuple):
    """Whom a firewall lets in, at which port, and whether it still does."""

    address: str
    port: int
    open: bool


# The role's variable with what the user wants of each socket.
SOCKETS = {
    "replication_doveadm_socket": ("replicator", "unix_listener", "replicator-doveadm"),
    "replication_notify_socket": ("aggregator", "unix_listener", "replication-notify"),
    "replication_notify_fifo": ("aggregator", "fifo_listener", "replication-notify-fifo"),
}


class Side(NamedTuple):
    """One host of a pair, before anything is decided.

    :arg wanted: the role's variables by name, validated by its argument_specs; those that are not set are None
    :arg observed: result of the module node_info with ``gather: [host]``
    :arg name: of the host in the inventory
    :arg members: hosts of the inventory group replication_group
    :arg peer_calls_it: replication_peer of the other host, None where that has none
    :arg ansible_calls_peer: ansible_host of the other host, where this host cannot look up the name of the peer
    :arg previewing: whether nothing is to be changed, as in check mode
    :arg secret_is_text: whether YAML has taken replication_secret for a text
    :arg secret_is_steady: whether replication_secret has the same value each time it is looked up
    :arg secret_is_shared: whether the other host has the same replication_secret, as far as that can be known
    :arg peer_host_keys: lines of the peer's public host keys, where the scheme is ssh and they have been read
    :arg peer_observed: result of node_info on the peer, empty where it was not looked at in this run
    """

    wanted: Dict[str, Any]
    observed: Mapping[str, Any]
    name: str
    members: Tuple[str, ...]
    peer_calls_it: Optional[str] = None
    ansible_calls_peer: Optional[str] = None
    previewing: bool = False
    secret_is_text: bool = True
    secret_is_steady: bool = True
    secret_is_shared: bool = True
    peer_host_keys: Tuple[str, ...] = ()
    peer_observed: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Return a variable of the role: ``side.replication_port``."""
        try:
            return self.wanted[name]
        except KeyError:
            raise AttributeError(name) from None

    # The pair

    @property
    def is_present(self) -> bool:
        return self.replication_state == "present"

    @property
    def others(self) -> List[str]:
        """The other hosts of the group; none where this host is not one of it."""
        return [member for member in self.members if member != self.name] if self.name in self.members else []

    @property
    def other(self) -> str:
        """The other host's name in the inventory, empty without one."""
        return (self.others or [""])[0]

    @property
    def peer(self) -> str:
        """The name or address by which this host calls the other one."""
        return self.other if self.replication_peer is None else self.replication_peer

    @property
    def proposed_peer(self) -> str:
        """Where Ansible reaches the peer, for a sentence; empty where that says nothing to this host."""
        if not self.ansible_calls_peer or LOOPBACK.match(self.ansible_calls_peer):
            return ""
        return f", such as `replication_peer: {self.ansible_calls_peer}`, the ansible_host of {self.other}"

    @property
    def peer_is_ipv6(self) -> bool:
        return bool(IPV6.match(self.peer))

    @property
    def peer_is_ipv4(self) -> bool:
        return bool(IPV4.match(self.peer))

    @property
    def own_name(self) -> str:
        """What the other host calls this one; its certificate must be for that name."""
        return self.name if self.peer_calls_it is None else self.peer_calls_it

    # What syncs

    @property
    def is_2_4(self) -> bool:
        """Whether Dovecot here has no replicator, and writes its configuration in another way, or will have none."""
        return is_2_4(self.dovecot_version) or self.dovecot_version is None and self.replication_engine in SYNCERS

    @property
    def by_syncer(self) -> bool:
        """Whether a timer or a service of ours starts the syncs of this host, and not Dovecot's replicator."""
        return self.is_present and (self.is_2_4 or self.replication_engine == TIMER_ENGINE)

    @property
    def by_service(self) -> bool:
        return self.by_syncer and self.replication_engine == SERVICE_ENGINE

    @property
    def has_syncer(self) -> bool:
        """Whether a timer or service of ours is on this host, such as after Dovecot was changed back to 2.3."""
        return bool(self.observed.get("has_syncer"))

    @property
    def syncer_settings_file(self) -> str:
        return f"{self.replication_config_dir}/{FILE}"

    @property
    def syncer_settings(self) -> Settings:
        return Settings(
            destination=self.replica,
            # Without -c doveadm asks the running Dovecot for its configuration, with a third of the processor's time.
            doveadm=["doveadm"] if self.config_file == DEFAULT_CONFIG else ["doveadm", "-c", self.config_file],
            interval=self.replication_timer_interval,
            width=self.replication_max_conns or WIDTH,
            patience=self.replication_timer_patience,
            lock_patience=LOCK_PATIENCE,
            full_sync_interval=seconds_in(self.replication_full_sync_interval or "") or FULL_SYNC_INTERVAL,
            hold_file=self.hold_file,
            state_dir=STATE_DIR,
            kept_out=self.replication_excluded_users,
            engine=SERVICE_ENGINE if self.by_service else TIMER_ENGINE,
            sweep_interval=self.replication_sweep_interval,
            run_dir=RUN_DIR,
        )

    @property
    def syncer_units(self) -> Dict[str, str]:
        """The units of systemd: templates of the role by path, empty where the engine has no such unit."""
        return {
            f"/etc/systemd/system/{SERVICE}": "service.service.j2" if self.by_service else "rounds.service.j2",
            f"/etc/systemd/system/{TIMER}": "" if self.by_service else "rounds.timer.j2",
        }

    @property
    def program(self) -> str:
        return PROGRAM

    @property
    def dsync_parameters(self) -> Optional[str]:
        """The value of replication_dsync_parameters, None for Dovecot's default."""
        version = self.peer_observed.get("dovecot_version")
        for_2_4 = is_2_4(parse_version(version)) if version else self.has_parameters_for_2_4
        return self.replication_dsync_parameters or (
            PARAMETERS_FOR_2_4 if for_2_4 or self.replication_upgrading else None
        )

    @property
    def has_parameters_for_2_4(self) -> bool:
        """Whether the role has made this host ready for a peer with 2.4 before, such as in a run for both hosts."""
        return self.observed.get("dsync_parameters") == PARAMETERS_FOR_2_4

    @property
    def iterate_fields(self) -> Dict[str, str]:
        """``attrs`` of replication_iterate as Dovecot 2.4 has them, such as ``%{ldap:mail}`` by ``user``."""
        fields = {}
        for given in self.replication_iterate["attrs"].split(","):
            attribute, dummy, field = given.strip().partition("=")
            # A template has an = in front.
            name, dummy, template = field.partition("=")
            fields[name] = f"%{{ldap:{attribute}}}" if attribute else template
        return fields

    # How the two reach each other

    @property
    def over_ssh(self) -> bool:
        return self.is_present and self.replication_scheme == "ssh"

    @property
    def over_tls(self) -> bool:
        return self.is_present and self.replication_scheme == "tcps"

    @property
    def listens(self) -> bool:
        """Whether other hosts reach Dovecot's doveadm listener."""
        return self.is_present and not self.over_ssh

    @property
    def replica(self) -> str:
        """The value of mail_replica. With remoteprefix the user's name is the first line, so no shell ever sees it."""
        if self.over_ssh:
            return f"remoteprefix:{self.replication_ssh_user}@{self.peer}"
        host = f"[{self.peer}]" if self.peer_is_ipv6 else self.peer
        return f"{self.replication_scheme}:{host}:{self.replication_peer_port or self.replication_port}"

    @property
    def dsync_command(self) -> str:
        """The value of dsync_remote_cmd for ssh.

        Without CheckHostIP and UpdateHostKeys ssh would write into the file with the host keys; before OpenSSH 8.5 it
        writes each address.
        """
        return (
            f"ssh -i{self.replication_ssh_key_file} -oIdentitiesOnly=yes -oBatchMode=yes -oStrictHostKeyChecking=yes "
            f"-oUserKnownHostsFile={self.known_hosts_file} -oCheckHostIP=no -oUpdateHostKeys=no "
            f"-p{self.replication_ssh_port} -l%{{login}} %{{host}} dsync-server"
        )

    @property
    def known_hosts_name(self) -> str:
        """The peer as OpenSSH writes it in a file of known hosts."""
        return self.peer if self.replication_ssh_port == 22 else f"[{self.peer}]:{self.replication_ssh_port}"

    @property
    def ssh_client_package(self) -> str:
        return "openssh-clients" if self.observed["os_family"] == "redhat" else "openssh-client"

    @property
    def ssh_keys_file(self) -> str:
        """The authorized keys of the user as whom the peer syncs, who may still have to be made."""
        home = (self.observed["system_user"] or {}).get("home") or f"/home/{self.replication_ssh_user}"
        return f"{home}/{AUTHORIZED_KEYS}"

    @property
    def ssh_keys_left(self) -> List[str]:
        """The files that let the peer in as before, and are not to do so any more."""
        wanted = [self.ssh_keys_file] if self.over_ssh else []
        return [path for path in self.observed["authorized_keys"] if path not in wanted]

    # The HTTP API

    @property
    def has_api(self) -> bool:
        return self.is_present and self.replication_api_port != 0

    @property
    def api_over_tls(self) -> bool:
        return self.has_api and self.replication_api_tls

    @property
    def api_is_local(self) -> bool:
        return bool(self.replication_api_listen) and all(map(LOOPBACK.match, self.replication_api_listen))

    @property
    def api_name(self) -> str:
        """The name in the URL by which clients call the API."""
        return urlsplit(self.replication_api_url or "").hostname or self.own_name

    @property
    def api_own_url(self) -> str:
        """The URL at which this host reaches its own API."""
        address = next((one for one in self.replication_api_listen if one not in ANY_ADDRESS), "127.0.0.1")
        host = f"[{address}]" if ":" in address else address
        return f"{'https' if self.replication_api_tls else 'http'}://{host}:{self.replication_api_port}"

    @property
    def allowed_commands(self) -> str:
        """The value of doveadm_allowed_commands, empty where everything is allowed."""
        if not self.replication_api_commands:
            return ""
        return ",".join(dict.fromkeys([*SYNC_COMMANDS, *self.replication_api_commands]))

    # Dovecot on the host

    @property
    def dovecot_version(self) -> Optional[Tuple[int, ...]]:
        """Numbers of the version that is installed, None without one."""
        return parse_version(self.observed["dovecot_version"] or "")

    @property
    def to_be_installed(self) -> bool:
        return self.replication_install and self.is_present and self.observed["dovecot_version"] is None

    @property
    def service(self) -> Dict[str, Any]:
        """What the running Dovecot answered, empty where it was not asked."""
        return self.observed.get("service") or {}

    @property
    def is_in_service(self) -> bool:
        """Whether the replicator has answered, and the userdb has listed its users."""
        return self.service.get("users") is not None and self.service["replicator_problem"] is None

    @property
    def listing_refused(self) -> Optional[str]:
        """What the running Dovecot says of a userdb that does not list its users, None where it was not asked."""
        return self.service.get("cannot_list")

    @property
    def mail_is_by_setting(self) -> bool:
        """Whether the userdb leaves it to mail_location where the mail of users is; false where that is not known."""
        return self.service.get("mail_by_userdb") is False

    @property
    def chrooted(self) -> List[str]:
        """Some users whose mail processes run in a chroot."""
        return self.service.get("chrooted") or []

    @property
    def not_asked(self) -> List[str]:
        """What the running Dovecot could not be asked, although there is one, sentences."""
        service = self.service
        asked = service.get("users") is not None or self.listing_refused
        if not service or asked or self.dovecot_version is None or not self.replication_require_iteration:
            return []
        return [
            f"{self.name}: Dovecot was not asked whether its userdb lists all users, and only its configuration was "
            f"looked at. {service['userdb_problem']}"
        ]

    @property
    def config_file(self) -> str:
        return f"{self.replication_config_dir}/dovecot.conf"

    @property
    def secrets_file(self) -> str:
        return f"{self.replication_config_dir}/{SECRETS_FILE}"

    @property
    def hold_file(self) -> str:
        """The file with which the playbook drain holds syncs back; the settings of the role include it."""
        return f"{self.replication_config_dir}/{HOLD_FILE}"

    @property
    def known_hosts_file(self) -> str:
        return f"{self.replication_config_dir}/replication-known-hosts"

    @property
    def dsync_server_file(self) -> str:
        return f"{self.replication_config_dir}/{DSYNC_SERVER_FILE}"

    @property
    def nftables_file(self) -> str:
        return NFTABLES_FILE

    @property
    def sockets(self) -> List[Socket]:
        defaults = {"mode": "0600", "user": self.replication_mail_user, "group": self.replication_mail_group}
        found = []
        for variable, (service, kind, name) in SOCKETS.items():
            given = {key: value for key, value in self.wanted[variable].items() if value is not None}
            found.append(Socket(service, kind, name, **{"path": name, **defaults, **given}))
        return found

    @property
    def openings(self) -> List[Opening]:
        """Whom the firewall lets in, and whom no longer."""
        of_peer = [Opening(address, self.replication_port, self.listens) for address in self.observed["peer_addresses"]]
        of_api = [Opening(address, self.replication_api_port, self.has_api) for address in self.replication_api_clients]
        return of_peer + of_api


def is_2_4(version: Optional[Tuple[int, ...]]) -> bool:
    """Tell whether a version of Dovecot has no replicator."""
    return (version or (0,))[:2] >= GONE_SINCE
