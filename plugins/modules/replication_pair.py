#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_pair
short_description: Decide what the role replication does to a host
version_added: 1.0.0
description:
  - Validates the variables of the role C(replication), looks at the host with M(mailops.dovecot_replication.node_info),
    and returns all that the role decides from both. The first task of the role.
  - Fails with the reason and the next step where the role refuses what is wanted. Nothing is changed before that.
  - Reads the variables of the role from the play, so it has no options for them.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.info_module
options:
  observed:
    description: What M(mailops.dovecot_replication.node_info) has returned with C(gather=[host]), not to look again.
    type: dict
  compare_with:
    description:
      - The other host of the pair, as the inventory calls it. What the play has observed there becomes part of the
        decision.
    type: str
    default: ""
  peer_host_keys:
    description: The peer's public host keys as in its files, for the scheme C(ssh).
    type: list
    elements: str
    default: []
seealso:
  - module: mailops.dovecot_replication.node_info
  - module: mailops.dovecot_replication.dovecot_config
"""

EXAMPLES = r"""
- name: Read what the role would refuse and write, with the variables of the inventory
  mailops.dovecot_replication.replication_pair:
  register: decision

- name: Decide again from the same observation, with that of the peer and its host keys
  mailops.dovecot_replication.replication_pair:
    observed: "{{ decision.observed }}"
    compare_with: "{{ decision.other }}"
    peer_host_keys: "{{ peer_keys.stdout_lines }}"
  register: decision

- name: Show the configuration that the role would write
  ansible.builtin.debug:
    msg: "{{ decision.config.files[0].content }}"
"""

RETURN = r"""
refused:
  description: Why nothing can be done. The task fails with the first message.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: A stable name of the reason.
      type: str
      sample: peer_is_self
    message:
      description: What was seen, why it cannot work, and the next step.
      type: str
peer_seen:
  description: Whether what was observed on the other host is part of the decision.
  returned: success
  type: bool
  sample: false
present:
  description: Whether the hosts are to replicate. False where replication is taken away.
  returned: success
  type: bool
  sample: true
other:
  description: The other host of the group; empty where the inventory does not have it.
  returned: success
  type: str
  sample: mx2.example.org
packages:
  description: Packages to install.
  returned: success
  type: list
  elements: str
config:
  description: Options of M(mailops.dovecot_replication.dovecot_config), but for the secrets.
  returned: success
  type: dict
secrets:
  description: Names of the settings that take a secret. The values are not returned.
  returned: success
  type: list
  elements: str
  sample: [doveadm_password]
replicator_socket:
  description: Path of the replicator's socket, below C(base_dir) when it is relative.
  returned: success
  type: str
  sample: replicator-doveadm
by_syncer:
  description: Whether a timer or a service starts the syncs of this host, as its Dovecot has no replicator.
  returned: success
  type: bool
syncer:
  description: What the role needs to have that timer or service, or to remove it.
  returned: success
  type: dict
  contains:
    program:
      description: The path of the program that syncs.
      type: str
    state_dir:
      description: The directory of what it knows of users.
      type: str
    service:
      description: The name of its service.
      type: str
    unit:
      description: The name of the unit that is to run, the timer or the service.
      type: str
    timer:
      description: The name of the timer.
      type: str
    files:
      description: Settings and units.
      type: list
      elements: dict
      contains:
        path:
          description: The path.
          type: str
        content:
          description: The content, empty where the file shall not be there.
          type: str
known_hosts_file:
  description: The file with the peer's host keys, for the scheme C(ssh).
  returned: success
  type: str
dsync_server_file:
  description: What the peer's ssh key may run.
  returned: success
  type: str
ssh:
  description: Whether the hosts reach each other over ssh.
  returned: success
  type: bool
ssh_keys_file:
  description: The authorized keys of the user as whom the peer syncs.
  returned: success
  type: str
ssh_keys_left:
  description: Such files of other users, as whom the peer could sync before.
  returned: success
  type: list
  elements: str
selinux_ports:
  description: Ports to label; empty without SELinux.
  returned: success
  type: list
  elements: dict
  contains:
    port:
      description: The TCP port.
      type: int
    open:
      description: Whether Dovecot listens there.
      type: bool
openings:
  description: Whom the firewall lets in.
  returned: success
  type: list
  elements: dict
  contains:
    address:
      description: An address, or a network.
      type: str
    port:
      description: The TCP port.
      type: int
    open:
      description: Whether it is let in. False where the rule is to be removed.
      type: bool
nftables:
  description: What C(nftables) needs.
  returned: success
  type: dict
  contains:
    file:
      description: Path of the file with the rules.
      type: str
    rules:
      description: The rules; empty where nothing is open.
      type: str
    unit:
      description: The addition to the unit that loads them.
      type: str
api_url:
  description: Where the host reaches its own HTTP API; empty without one.
  returned: success
  type: str
needs:
  description: Which files of tasks have something to do, whatever the configuration changes.
  returned: success
  type: dict
  contains:
    preflight:
      description: Dovecot is to be installed, or the peer's host keys are to be read.
      type: bool
    follow_up:
      description: Any of those after the configuration.
      type: bool
    access:
      description: SELinux, a firewall or ssh may have to let the peer in.
      type: bool
    finish:
      description: Something is to be checked, verified or removed.
      type: bool
    syncer:
      description: A timer or a service is to start the syncs, or one that is there is to be removed.
      type: bool
observed:
  description: What M(mailops.dovecot_replication.node_info) has returned.
  returned: when the host could be looked at
  type: dict
"""
