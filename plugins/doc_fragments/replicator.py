# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  transport:
    description:
      - How to talk to the replicator.
      - V(socket) is the replicator's UNIX socket; the task must run as root or as the socket's owner.
      - V(auto) takes the best one there is, at present always V(socket).
      - The one used is returned as RV(ignore:transport).
    type: str
    choices: [auto, socket]
    default: auto
  socket_path:
    description:
      - Path of the replicator's C(replicator-doveadm) socket, like C(doveadm replicator -a).
      - Found from the C(base_dir) of the instance when not given.
    type: path
  config_file:
    description: Configuration file of the Dovecot instance, like C(doveadm -c).
    type: path
  instance:
    description: Name of the Dovecot instance, like C(doveadm -i).
    type: str
  timeout:
    description: Longest silence accepted from the replicator, in seconds.
    type: float
    default: 30
requirements:
  - Dovecot 2.3 on the managed host, running, with the replicator configured as the role
    P(mailops.dovecot_replication.replication#role) does. Dovecot 2.4 has no replicator any more.
"""

    WAIT = r"""
options:
  wait:
    description: Wait until the syncs that this task asked for have ended, and fail when one did not succeed.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds. Dovecot retries a failed user after 300 seconds.
    type: float
    default: 300
"""
