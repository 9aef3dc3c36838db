# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What decides whether a host can replicate its mail at all, also where there is no Dovecot. PRIVATE."""

import glob
import os
import pwd
import re
import stat
from typing import Any, Dict, List, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import rights
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import RunCommand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.hosts import addresses_of, is_own
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import find_command
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.plugins import (
    DROP_IN,
    DSYNC_SERVER_FILE,
    SETTINGS_FILE,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SERVICE, path_of

OS_RELEASE = "/etc/os-release"
SSH_HOST_KEYS = "/etc/ssh/ssh_host_*_key.pub"
FAMILIES = {"debian": "debian", "rhel": "redhat", "fedora": "redhat", "alpine": "alpine"}
# What doveadm ends with when it cannot read its configuration, and where it says why.
CONFIG_STATUS = 89
COMPLAINT = re.compile(r"Fatal: (.*)")
DSYNC_PARAMETERS = re.compile(r"^replication_dsync_parameters = (.*)$", re.MULTILINE)
# The unit that the role writes, and whose settings it is for.
SYNCER_UNIT = "/etc/systemd/system/" + SERVICE
OF_SETTINGS = re.compile(r"^ExecStart=.* --config (\S+)$", re.MULTILINE)
PASSWD = "/etc/passwd"
AUTHORIZED_KEYS = ".ssh/authorized_keys"
# How a line of such a file ends that the role has written.
OF_ROLE = " mailops.dovecot_replication"
NO_SHELLS = ("nologin", "false", "sync", "shutdown", "halt")


def observe(
    version: Optional[str], peer: Optional[str], user: Optional[str], config_file: Optional[str], run: RunCommand
) -> Dict[str, Any]:
    """Return what the module node_info tells of the host, see its RETURN.

    :arg version: of Dovecot, None without one
    :arg user: name of the system user to tell about
    :arg config_file: what that user must be able to read, if it can log in; nobody looks when it is None
    :arg run: ``AnsibleModule.run_command``
    """
    addresses = addresses_of(peer) if peer else []
    syncer_settings = path_of(config_file)
    directory = os.path.dirname(syncer_settings)
    return {
        "hostname": os.uname()[1],
        "task_user": rights.user_name(),
        "is_root": rights.is_root(),
        "dovecot_version": version,
        "os_family": os_family(_os_release()),
        "selinux": os.path.exists("/sys/fs/selinux/enforce"),
        "peer_addresses": addresses,
        "peer_is_self": any(is_own(address) for address in addresses),
        "system_user": system_user(user, config_file, run) if user else None,
        "authorized_keys": authorized_keys(os.path.join(directory, DSYNC_SERVER_FILE), user),
        "ssh_client": find_command("ssh") is not None,
        "ssh_host_keys": bool(glob.glob(SSH_HOST_KEYS)),
        "has_syncer": os.path.exists(syncer_settings),
        "syncer_of_another": syncer_of_another(syncer_settings),
        "dsync_parameters": own_dsync_parameters(directory),
    }


def syncer_of_another(own: str) -> Optional[str]:
    """Return the settings that the timer or service of this host has, None where they are our own or not there."""
    try:
        with open(SYNCER_UNIT, errors="replace") as stream:
            found = OF_SETTINGS.search(stream.read())
    except (IOError, OSError):
        return None
    return found.group(1) if found and found.group(1) != own and os.path.exists(found.group(1)) else None


def own_dsync_parameters(directory: str) -> Optional[str]:
    """Return the value of replication_dsync_parameters that the role has written, None where it has not."""
    for path in (os.path.join("conf.d", DROP_IN), SETTINGS_FILE):
        try:
            with open(os.path.join(directory, path), errors="replace") as stream:
                found = DSYNC_PARAMETERS.search(stream.read())
        except (IOError, OSError):
            continue
        if found:
            return found.group(1)
    return None


def _os_release() -> str:
    try:
        with open(OS_RELEASE) as stream:
            return stream.read()
    except (IOError, OSError):
        return ""


def os_family(text: str) -> Optional[str]:
    """Return the family in the text of an os-release file, or None.

    >>> os_family('NAME=x\\nID="rocky"\\nID_LIKE="rhel centos fedora"')
    'redhat'
    """
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    for field in ("ID", "ID_LIKE"):
        for name in fields.get(field, "").strip("\"'").split():
            if name in FAMILIES:
                return FAMILIES[name]
    return None


def system_user(name: str, config_file: Optional[str], run: RunCommand) -> Optional[Dict[str, Any]]:
    """Return what a user is, None without one."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    shell = entry.pw_shell or "/bin/sh"
    can_log_in = os.path.basename(shell) not in NO_SHELLS
    # Whom sshd runs nothing for reads nothing; this spares the others a start of doveadm.
    problem = config_problem(name, config_file, run) if can_log_in and config_file else None
    return {"home": entry.pw_dir, "shell": shell, "can_log_in": can_log_in, "config_problem": problem}


def authorized_keys(command: str, user: Optional[str] = None, passwd: str = PASSWD) -> List[str]:
    """Return the files by which sshd lets the peer run a command of the role, sorted.

    Those of the local users, and of one who may be another one; listing all users of a directory can take long.
    """
    try:
        with open(passwd, errors="replace") as stream:
            homes = {line.split(":")[5] for line in stream if line.count(":") == 6}
    except (IOError, OSError):
        homes = set()
    try:
        homes.update([pwd.getpwnam(user).pw_dir] if user else [])
    except KeyError:
        pass
    paths = {os.path.join(home, AUTHORIZED_KEYS) for home in homes}
    return sorted(path for path in paths if _authorizes(path, 'command="%s"' % command))


def _authorizes(path: str, command: str) -> bool:
    try:
        # Users may put there what they like; opening a pipe would wait for its other end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), errors="replace") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return False
            return any(command in line and line.rstrip().endswith(OF_ROLE) for line in stream)
    except (IOError, OSError):
        return False


def config_problem(name: str, config_file: str, run: RunCommand) -> Optional[str]:
    """Return why doveadm, run as a user, cannot read its configuration, or None; None without doveadm, too."""
    doveadm = find_command("doveadm")
    if not doveadm or not os.path.exists(config_file):
        return None
    # Any command that reads the configuration does; whether it has success does not matter.
    command = [doveadm, "-c", config_file, "-o", "stats_writer_socket_path=", "user", name]
    rc, dummy, err = run(["runuser", "-u", name, "--"] + command)
    complaint = COMPLAINT.search(err)
    return (complaint.group(1) if complaint else err.strip()) if rc == CONFIG_STATUS else None
