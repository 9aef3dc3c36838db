# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Dovecot says of its own configuration and version. PRIVATE to this collection."""

import os

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError

SBIN_DIRECTORIES = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/dovecot/sbin", "/usr/local/bin", "/usr/bin"]
DEFAULT_BASE_DIR = "/run/dovecot"
GONE_SINCE = (2, 4)
GONE_TEXT = "Dovecot %s has no replicator: it was removed in 2.4.0"
UPGRADE_GUIDE = "https://doc.dovecot.org/latest/installation/upgrade/2.3-to-2.4.html"
GONE_CURE = (
    "stay on Dovecot 2.3, or leave replication before the upgrade: shared storage, or `doveadm sync` run by a timer; "
    "see " + UPGRADE_GUIDE
)


def find_command(name, beside=None):
    """Return the path of one of Dovecot's commands (``doveadm``, ``doveconf``, ``dovecot``), or None.

    :arg beside: path of another one of them, whose directory comes first
    """
    first = [os.path.dirname(beside)] if beside else []
    for directory in first + os.environ.get("PATH", "").split(os.pathsep) + SBIN_DIRECTORIES:
        path = os.path.join(directory, name)
        if directory and os.access(path, os.X_OK):
            return path
    return None


def parse_version(text):
    """Return the version in ``2.3.19.1 (9b53102964)`` as a tuple of ints, or None.

    >>> parse_version("2.3.19.1 (9b53102964)")
    (2, 3, 19, 1)
    """
    words = text.split()
    if not words:
        return None
    numbers = words[0].replace("-", ".").replace("~", ".").split(".")
    version = []
    for number in numbers:
        if not number.isdigit():
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

    def __init__(self, run_command, config_file=None, instance=None, settings=None, doveadm_path=None):
        self.run_command = run_command
        self.doveadm_path = doveadm_path
        # The global options that all of Dovecot's commands share.
        self.arguments = []
        if config_file:
            self.arguments += ["-c", config_file]
        if instance:
            self.arguments += ["-i", instance]
        for name in sorted(settings or {}):
            self.arguments += ["-o", "%s=%s" % (name, settings[name])]

    def doveadm(self):
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

    def version(self):
        """Return what ``dovecot --version`` prints, such as ``2.3.19.1 (9b53102964)``, or None without Dovecot."""
        beside = self.doveadm_path
        dovecot = find_command("dovecot", beside) or find_command("doveadm", beside)
        if not dovecot:
            return None
        rc, out, dummy = self.run_command([dovecot, "--version"])
        return out.strip() if rc == 0 else None

    def refuse_without_replicator(self):
        """Raise DovecotError when the installed Dovecot has no replicator any more; return its version text."""
        version = self.version()
        if version and (parse_version(version) or (0,))[:2] >= GONE_SINCE:
            raise DovecotError("Looking for Dovecot's replicator", GONE_TEXT % version, cure=GONE_CURE)
        return version

    def run(self, *arguments):
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

    def get(self, setting, protocol=None):
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

    def base_dir(self):
        """Return base_dir, Dovecot's default where the configuration cannot be read by us."""
        try:
            return self.get("base_dir") or DEFAULT_BASE_DIR
        except DovecotError:
            return DEFAULT_BASE_DIR
