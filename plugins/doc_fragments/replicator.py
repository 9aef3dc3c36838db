# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  transport:
    description:
      - How to talk to the replicator.
      - V(socket) is the replicator's UNIX socket; the task must run as root, as the socket's owner, or as a
        member of its group where the mode is 0660. It is the fastest transport, and the only one with absolute times.
      - V(doveadm) runs C(doveadm replicator), a process for each command and so for each name that changes.
      - V(http) is doveadm's HTTP API, from Dovecot 2.3.17 on. The task may run anywhere, on the controller for example,
        and needs no rights on the host of the replicator but O(api_key).
      - V(timer) asks the timer that the role P(mailops.dovecot_replication.replication#role) sets up on hosts with
        Dovecot 2.4, which has no replicator. It answers as a replicator would. Needs root.
      - V(service) asks the service that the role sets up there with O(ignore:replication_engine=service), over a socket
        with the replicator's protocol. Needs root.
      - V(auto) is V(http) when O(api_url) is given, V(doveadm) when the task needs it (O(settings), O(debug)), V(timer)
        or V(service) on a host that has one, unless O(socket_path) is given, otherwise V(socket).
      - The transport in use is returned as RV(ignore:transport).
    type: str
    choices: [auto, socket, doveadm, http, timer, service]
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
  doveadm_path:
    description:
      - Path of C(doveadm), where it is neither on the C(PATH) nor in one of the usual directories. Dovecot's other
        commands are expected beside it.
    type: path
  settings:
    description: Settings that override the configuration for this task, each like C(doveadm -o setting=value).
    type: dict
  debug:
    description:
      - Make doveadm print debug messages, like C(doveadm -D), and return them as RV(ignore:debug_log).
      - There is no option for C(doveadm -v), as it adds nothing to the output of these commands.
    type: bool
    default: false
  api_url:
    description:
      - URL of the doveadm HTTP API, such as V(https://mx1.example.org:8080).
      - The key and the names of users cross the network in clear unless it is HTTPS.
    type: str
  api_key:
    description: Dovecot's setting C(doveadm_api_key). It gives control of all mail. Goes together with O(api_url).
    type: str
  ca_path:
    description:
      - File or directory with the certificates of the authorities to trust for O(api_url), instead of the system's.
    type: path
  validate_certs:
    description: Whether to check the certificate of O(api_url).
    type: bool
    default: true
  use_proxy:
    description:
      - Whether to reach O(api_url) through the proxy that the environment of the task names, such as C(https_proxy),
        as far as C(no_proxy) allows.
    type: bool
    default: true
  timeout:
    description: Longest silence accepted from the replicator, in seconds.
    type: float
    default: 30
requirements:
  - Dovecot on the managed host, running, with the replicator of 2.3, or the timer or service of 2.4, configured as the
    role P(mailops.dovecot_replication.replication#role) does.
"""

    SLICE = r"""
options:
  _users:
    description:
      - Internal. The action plugin hands over the users of O(users_file), and of a long list, in it.
    type: str
  _wait_slice:
    description:
      - Internal. The action plugin makes the module wait in parts with it, and shows progress in between.
    type: dict
"""

    WAIT = r"""
options:
  wait:
    description:
      - Wait until the syncs that this task asked for have ended, and fail when one did not succeed.
      - Meanwhile the counts of users that are done, failed and left are shown every few seconds, on the terminal or in
        the log of the job; with C(async) nothing is shown.
      - When Dovecot is reloaded or restarted meanwhile, the syncs that have not ended are asked for again.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds. Dovecot retries a failed user after 300 seconds.
    type: float
    default: 300
"""
