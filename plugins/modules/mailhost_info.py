#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: mailhost_info
short_description: Read what matters of a mail host before it is to replicate to another
version_added: 1.0.0
description:
  - Returns in one go what decides whether and how a host can replicate its mail to another one, the peer. The role
    C(replication) begins with it.
  - Works on hosts without Dovecot, too.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.info_module
options:
  peer:
    description: Host name or address of the other host, to be looked up on this one.
    type: str
  account:
    description: A system user to tell about.
    type: str
  config_file:
    description: Configuration file of Dovecot, which O(account) is to be able to read.
    type: path
seealso:
  - module: mailops.dovecot_replication.dovecot_config
"""

EXAMPLES = r"""
- name: Look at the host
  mailops.dovecot_replication.mailhost_info:
  register: mailhost

- name: Learn by which addresses this host reaches its peer
  mailops.dovecot_replication.mailhost_info:
    peer: mx2.example.org
  register: mailhost

- name: Refuse a peer that is this host under another name
  ansible.builtin.assert:
    that: not mailhost.peer_is_self
"""

RETURN = r"""
hostname:
  description: The name the host has for itself, which Dovecot uses for locks and in the names of mail files.
  returned: success
  type: str
  sample: mx1.example.org
dovecot_version:
  description: The version of Dovecot, null when it is not installed.
  returned: success
  type: str
  sample: 2.3.19.1 (9b53102964)
os_family:
  description: Of which family the operating system is, by C(/etc/os-release). Null when it is none of these.
  returned: success
  type: str
  sample: debian
  choices: [debian, redhat, alpine]
selinux:
  description: Whether SELinux is on, enforcing or permissive.
  returned: success
  type: bool
  sample: false
peer_addresses:
  description: The addresses that O(peer) has, looked up on this host. Sorted; empty when it cannot be looked up.
  returned: success
  type: list
  elements: str
  sample: [192.0.2.2, '2001:db8::2']
peer_is_self:
  description: Whether one of these addresses is this host's own.
  returned: success
  type: bool
  sample: false
account:
  description: What O(account) is, null when there is no such user.
  returned: success
  type: dict
  contains:
    home:
      description: The home directory.
      type: str
      sample: /srv/vmail
    shell:
      description: The login shell.
      type: str
      sample: /usr/sbin/nologin
    can_log_in:
      description: Whether the shell runs commands, as sshd needs it.
      type: bool
      sample: false
    config_problem:
      description:
        - What keeps doveadm from reading O(config_file) when it is run as this user; null without one. Before Dovecot
          2.3.17 it must be able to read the files of C(ssl_cert) and C(ssl_key).
      type: str
"""

import os
import pwd
import re

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import Doveconf, find_command
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._hosts import addresses_of, is_own

OS_RELEASE = "/etc/os-release"
FAMILIES = {"debian": "debian", "rhel": "redhat", "fedora": "redhat", "alpine": "alpine"}
# What doveadm ends with when it cannot read its configuration, and where it says why.
CONFIG_STATUS = 89
COMPLAINT = re.compile(r"Fatal: (.*)")
NO_SHELLS = ("nologin", "false", "sync", "shutdown", "halt")


def os_family(text):
    """Return the family in the text of an os-release file, or None."""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    for field in ("ID", "ID_LIKE"):
        for name in fields.get(field, "").strip("\"'").split():
            if name in FAMILIES:
                return FAMILIES[name]
    return None


def account(name, config_file, run_command):
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    shell = entry.pw_shell or "/bin/sh"
    return dict(
        home=entry.pw_dir,
        shell=shell,
        can_log_in=os.path.basename(shell) not in NO_SHELLS,
        config_problem=config_problem(name, config_file, run_command) if config_file else None,
    )


def config_problem(name, config_file, run_command):
    """Return why doveadm, run as a user, cannot read its configuration, or None; None without doveadm, too."""
    doveadm = find_command("doveadm")
    if not doveadm or not os.path.exists(config_file):
        return None
    # Any command that reads the configuration does; whether it has success does not matter.
    command = [doveadm, "-c", config_file, "-o", "stats_writer_socket_path=", "user", name]
    rc, dummy, err = run_command(["runuser", "-u", name, "--"] + command)
    complaint = COMPLAINT.search(err)
    return (complaint.group(1) if complaint else err.strip()) if rc == CONFIG_STATUS else None


def main():
    module = AnsibleModule(
        argument_spec=dict(peer=dict(type="str"), account=dict(type="str"), config_file=dict(type="path")),
        supports_check_mode=True,
    )
    peer, name = module.params["peer"], module.params["account"]
    addresses = addresses_of(peer) if peer else []
    try:
        with open(OS_RELEASE) as stream:
            release = stream.read()
    except (IOError, OSError):
        release = ""
    module.exit_json(
        changed=False,
        hostname=os.uname()[1],
        dovecot_version=Doveconf(module.run_command).version(),
        os_family=os_family(release),
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        peer_addresses=addresses,
        peer_is_self=any(is_own(address) for address in addresses),
        account=account(name, module.params["config_file"], module.run_command) if name else None,
    )


if __name__ == "__main__":
    main()
