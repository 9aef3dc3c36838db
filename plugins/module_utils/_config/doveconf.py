# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Dovecot says of its own configuration and version. PRIVATE to this collection."""

import os
from typing import Callable, Dict, List, Optional, Tuple

from ansible.module_utils.common.process import get_bin_path

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError

DEFAULT_BASE_DIR = "/run/dovecot"
SBIN_DIRECTORIES = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/dovecot/sbin", "/usr/local/bin", "/usr/bin"]
# What ``AnsibleModule.run_command`` is: takes a list and returns status, output and error output.
RunCommand = Callable[..., Tuple[int, str, str]]
GONE_SINCE = (2, 4)
GONE_TEXT = "Dovecot %s has no replicator: it was removed in 2.4.0"
GONE_CURE = (
    "run `ansible-playbook mailops.dovecot_replication.setup` for this host, which has a timer start the syncs "
    "instead, and leave socket_path and transport out"
)


def find_command(name: str, beside: Optional[str] = None) -> Optional[str]:
    """Return the path of one of Dovecot's commands (``doveadm``, ``doveconf``, ``dovecot``), or None.

    :arg beside: path of another one of them, whose directory comes first
    """
    first = [os.path.dirname(beside)] if beside else []
    # opt_dirs come before the PATH, so it is named among them.
    directories = first + os.environ.get("PATH", "").split(os.pathsep) + SBIN_DIRECTORIES
    try:
        return get_bin_path(name, opt_dirs=directories)
    except ValueError:
        return None


def parse_version(text: str) -> Optional[Tuple[int, ...]]:
    """Return the version in ``2.3.19.1 (9b53102964)`` as a tuple of ints, or None.

    >>> parse_version("2.3.19.1 (9b53102964)")
    (2, 3, 19, 1)
    """
    words = text.split()
    if not words:
        return None
    numbers = words[0].replace("-", ".").replace("~", ".").split(".")
    version: List[int] = []
    for number in numbers:
        if not number.isdecimal():
            break
        version.append(int(number))
    return tuple(version) or None


class Doveconf:
    """Ask ``doveconf`` of one instance: what the files say, not what a running Dovecot has read of them.

    :arg run_command: ``AnsibleModule.run_command`` or anything that takes a list and returns ``(rc, stdout, stderr)``
    :arg config_file: as ``doveconf -c``; Dovecot's default when None
    :arg instance: as ``doveconf -i``
    :arg settings: as ``doveconf -o``, a dict
    :arg doveadm_path: path of doveadm, beside which the other commands are looked for
    """

    def __init__(
        self,
        run_command: RunCommand,
        config_file: Optional[str] = None,
        instance: Optional[str] = None,
        settings: Optional[Dict[str, str]] = None,
        doveadm_path: Optional[str] = None,
    ) -> None:
        self.run_command = run_command
        self.doveadm_path = doveadm_path
        # The global options that all of Dovecot's commands share.
        self.arguments: List[str] = []
        if config_file:
            self.arguments += ["-c", config_file]
        if instance:
            self.arguments += ["-i", instance]
        for name, value in sorted((settings or {}).items()):
            self.arguments += ["-o", "%s=%s" % (name, value)]

    def doveadm(self) -> List[str]:
        """Return doveadm with the global options as a list; raise DovecotError where there is none."""
        doveadm = self.doveadm_path or find_command("doveadm")
        if not doveadm or not os.access(doveadm, os.X_OK):
            raise DovecotError(
                "Looking for doveadm",
                "there is no %s" % (self.doveadm_path or "doveadm command"),
                "Dovecot is not installed on this host, or in a directory of its own",
                "install it, or give doveadm_path",
            )
        return [doveadm] + self.arguments

    def version(self) -> Optional[str]:
        """Return what ``dovecot --version`` prints, such as ``2.3.19.1 (9b53102964)``, or None without Dovecot."""
        beside = self.doveadm_path
        dovecot = find_command("dovecot", beside) or find_command("doveadm", beside)
        if not dovecot:
            return None
        rc, out, dummy = self.run_command([dovecot, "--version"])
        return out.strip() if rc == 0 else None

    def refuse_without_replicator(self, known: Optional[str] = None) -> Optional[str]:
        """Raise DovecotError when the installed Dovecot has no replicator any more; return its version text.

        :arg known: that text where another command has told it already
        """
        version = known or self.version()
        if version and (parse_version(version) or (0,))[:2] >= GONE_SINCE:
            raise DovecotError("Looking for Dovecot's replicator", GONE_TEXT % version, cure=GONE_CURE)
        return version

    def run(self, *arguments: str) -> Tuple[int, str, str]:
        """Run doveconf and return ``(rc, stdout, stderr)``; raise DovecotError where there is none."""
        doveconf = find_command("doveconf", self.doveadm_path)
        if not doveconf:
            raise DovecotError(
                "Reading Dovecot's configuration",
                "there is no doveconf command",
                "Dovecot is not installed on this host",
                "install it, or let the role do so with replication_install",
            )
        return self.run_command([doveconf] + self.arguments + list(arguments))

    def get(self, setting: str, protocol: Optional[str] = None) -> str:
        """Return the value of one setting, such as ``base_dir`` or ``plugin/mail_replica``, as text.

        With ``protocol`` the value is the one in force inside that protocol's sections. Secrets come as they are.
        """
        arguments = ["-P", "-h"]
        if protocol:
            arguments += ["-f", "protocol=%s" % protocol]
        rc, out, err = self.run(*(arguments + [setting]))
        if rc != 0:
            raise DovecotError(
                "Asking doveconf for %s" % setting,
                err.strip() or "status %s" % rc,
                cure="run `doveconf -n` on this host and mend what it names",
            )
        return out.rstrip("\n")

    def base_dir(self) -> str:
        """Return base_dir without links, Dovecot's default where the configuration cannot be read by us."""
        try:
            return os.path.realpath(self.get("base_dir") or DEFAULT_BASE_DIR)
        except DovecotError:
            return DEFAULT_BASE_DIR
