#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: mailhost_info
short_description: Read what matters of a mail host before it is to replicate to another
version_added: 0.1.0
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
"""

import ipaddress
import os
import pwd
import socket

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import Doveconf

OS_RELEASE = "/etc/os-release"
FAMILIES = {"debian": "debian", "rhel": "redhat", "fedora": "redhat", "alpine": "alpine"}
NO_SHELLS = ("nologin", "false", "sync", "shutdown", "halt")


def os_family(text):
    """Return the family in the text of an os-release file, or None."""
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    for field in ("ID", "ID_LIKE"):
        for name in fields.get(field, "").strip("\"'").split():
            if name in FAMILIES:
                return FAMILIES[name]
    return None


def addresses_of(name):
    """Return the addresses of a host, as the resolver of this one knows them: a sorted list, empty without any."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        return []
    return sorted(set(address[0] for dummy, dummy, dummy, dummy, address in found))


def is_own(address):
    """Tell whether an address is this host's: only then is it the one from which it is reached. Nothing is sent."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        family, dummy, dummy, dummy, where = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect(where)
            return trial.getsockname()[0] == where[0]
    except OSError:
        return False


def account(name):
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    shell = entry.pw_shell or "/bin/sh"
    return dict(home=entry.pw_dir, shell=shell, can_log_in=os.path.basename(shell) not in NO_SHELLS)


def main():
    module = AnsibleModule(
        argument_spec=dict(peer=dict(type="str"), account=dict(type="str")), supports_check_mode=True
    )
    peer = module.params["peer"]
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
        account=account(module.params["account"]) if module.params["account"] else None,
    )


if __name__ == "__main__":
    main()
