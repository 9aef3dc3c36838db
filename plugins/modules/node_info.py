#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: node_info
short_description: Read what decides on one host whether its replication works
version_added: 1.0.0
description:
  - Reads the properties of the host, also where there is no Dovecot, and whether Dovecot's replicator answers.
  - Reads the configuration, the sockets, the userdb, the replicator's queue and Dovecot's last errors, and logs in at
    the peer as a sync would, without syncing.
  - Judges nothing. The filter P(mailops.dovecot_replication.replication_findings#filter) names faults and their cures
    from the observations of both hosts. The role C(replication) does both in its entry point C(verify).
  - Changes nothing and returns no secret.
notes:
  - V(replication) in O(gather) needs root and fails without it, because the module reads Dovecot's secrets to log in
    with them. They leave the host only for the log-in.
  - V(host) and V(service) need no root. V(service) needs the rights of the sockets, and only root can check whether
    O(system_user) can read O(config_file).
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
  - mailops.dovecot_replication.attributes.action_group
  - mailops.dovecot_replication.attributes.info_module
  - mailops.dovecot_replication.replicator
options:
  gather:
    description:
      - What to read. V(host) decides whether the host can replicate at all, and works on hosts without Dovecot and
        with Dovecot 2.4, too. V(service) tells whether the replicator answers and the userdb lists its users.
        V(history) is what the role P(mailops.dovecot_replication.monitoring#role) remembers, and V(upgrade) what
        Dovecot 2.4 would have to read. V(replication) is all the rest.
    type: list
    elements: str
    choices: [host, service, replication, history, upgrade]
    default: [host, replication]
  peer:
    description: With V(host), the host name or address of the other host, to be looked up on this one.
    type: str
  system_user:
    description:
      - With V(host), a user of the system to describe. If the user can log in and O(config_file) is given, the module
        also checks whether the user can read that file.
    type: str
  sample:
    description: How many users to name in RV(sample), evenly spread over all that can be compared.
    type: int
    default: 10
  limit:
    description: How many users or errors a list may have. The rest is only counted.
    type: int
    default: 20
  require_iteration:
    description:
      - With V(replication), whether the userdb has to list its users. It is returned as RV(userdb.required).
      - With V(false) and a userdb that lists nobody, RV(sample) is taken from the replicator's list.
    type: bool
    default: true
  all_accounts:
    description:
      - With V(replication), whether to look up the fields of all users whom the userdb lists, for RV(fields). With
        V(false) it is O(sample), O(accounts) and the users that RV(accounts) names, and all that fail.
    type: bool
    default: false
  accounts:
    description: More users to look up in the userdb, such as those that the peer has trouble with.
    type: list
    elements: str
    default: []
  transport:
    description: How to talk to the replicator. V(http) is refused, because the module reads files of the host.
    type: str
    choices: [auto, socket, doveadm, http, timer, service]
    default: auto
  timeout:
    description: Longest silence accepted, from the replicator and from the peer, in seconds.
    type: float
    default: 5
seealso:
  - plugin: mailops.dovecot_replication.replication_findings
    plugin_type: filter
  - module: mailops.dovecot_replication.replicator_info
"""

EXAMPLES = r"""
- name: Observe the host
  mailops.dovecot_replication.node_info:
  register: replication

- name: Read what the host is, and by which addresses it reaches its peer
  mailops.dovecot_replication.node_info:
    gather: [host]
    peer: mx2.example.org
  register: node

- name: Refuse a peer that is this host under another name
  ansible.builtin.assert:
    that: not node.peer_is_self

- name: Check that the peer lets this host in
  ansible.builtin.assert:
    that: replication.peer.stage == 'ok'
    fail_msg: "{{ replication.peer.host }}: {{ replication.peer.stage }} {{ replication.peer.answer }}"

- name: Find out what is wrong with a pair
  hosts: dovecot_replication
  become: true
  gather_facts: false
  tasks:
    - name: Observe both hosts
      mailops.dovecot_replication.node_info:
      register: replication

    - name: Show what is found
      ansible.builtin.debug:
        msg: "{{ observations | mailops.dovecot_replication.replication_findings }}"
      vars:
        seen: "{{ ansible_play_hosts | map('extract', hostvars, 'replication') }}"
        observations: "{{ dict(ansible_play_hosts | zip(seen)) }}"
      run_once: true
"""

RETURN = r"""
hostname:
  description: The name the host has for itself, which Dovecot uses for locks and in the names of mail files.
  returned: when O(gather) has V(host) or V(replication)
  type: str
  sample: mx1.example.org
task_user:
  description: The user of the system as whom the module runs.
  returned: when O(gather) has V(host)
  type: str
  sample: root
is_root:
  description: Whether that user has the rights of root.
  returned: when O(gather) has V(host)
  type: bool
  sample: true
os_family:
  description: Of which family the operating system is, by C(/etc/os-release). Null when it is none of these.
  returned: when O(gather) has V(host)
  type: str
  sample: debian
  choices: [debian, redhat, alpine]
has_syncer:
  description: Whether the role has set up a timer or a service that syncs, as it does for Dovecot 2.4.
  returned: when O(gather) has V(host)
  type: bool
  sample: false
syncer_of_another:
  description: Settings of the timer or service of this host when they belong to another Dovecot, else null.
  returned: when O(gather) has V(host)
  type: str
  sample: null
dsync_parameters:
  description: C(replication_dsync_parameters) as the role has written it, null where it has not.
  returned: when O(gather) has V(host)
  type: str
  sample: -d -N -l 30
engine:
  description: What starts the syncs of the host.
  returned: when O(gather) has V(replication)
  type: str
  choices: [replicator, timer, service]
  sample: replicator
syncer:
  description: What the role has set up to start the syncs, a timer or a service; null where a replicator does.
  returned: when O(gather) has V(replication)
  type: dict
  contains:
    destination:
      description: Where the host syncs to.
      type: str
      sample: tcp:mx2.example.org:12345
    interval:
      description: How many seconds after a round, or a sweep, over all users the next one begins.
      type: int
      sample: 60
    width:
      description: How many syncs run at once.
      type: int
      sample: 4
    reading:
      description: The file in which it tells numbers.
      type: str
      sample: /var/lib/dovecot-replication/reading.json
    active:
      description: Whether systemd says that the timer or the service runs.
      type: bool
    enabled:
      description: Whether it starts at boot.
      type: bool
    on_hold:
      description: Whether the playbook C(drain) keeps syncs from being started.
      type: bool
    running:
      description: Whether syncs are under way.
      type: bool
    round_age:
      description: Seconds since the start of the last round over all users, null when there was none.
      type: int
      sample: 42
    round_problem:
      description: Why that round was given up, null where it was not.
      type: str
    listing_problem:
      description: Why the userdb did not list its users for it, null where it did.
      type: str
    deaf:
      description: Whether Dovecot does not tell the service of changes; false with a timer.
      type: bool
    missing:
      description: Users whom the peer does not have.
      type: dict
      contains:
        count:
          description: How many.
          type: int
        first:
          description: The first of them, at most O(limit).
          type: list
          elements: str
    problems:
      description: Users whose last sync has failed, at most O(limit).
      type: list
      elements: dict
      contains:
        username:
          description: The user.
          type: str
          sample: alice@example.org
        status:
          description: The exit status of C(doveadm sync).
          type: int
          sample: 75
        problem:
          description: What it said.
          type: str
upgrade:
  description: What Dovecot 2.4 would have to read, without values and without files of the role, and who the users are.
  returned: when O(gather) has V(upgrade)
  type: dict
  contains:
    settings:
      description: All assignments of the configuration, in the order in which Dovecot reads them.
      type: list
      elements: dict
      contains:
        setting:
          description: The setting with the sections that it stands in.
          type: str
          sample: userdb[1]/args
        protocol:
          description: The protocol section that it stands in, null outside of them.
          type: str
        place:
          description: The file and the line.
          type: str
          sample: /etc/dovecot/conf.d/10-auth.conf line 7
        old_variables:
          description: Whether the value has variables such as C(%u), which Dovecot 2.4 takes literally.
          type: bool
        plugins:
          description: The words of C(mail_plugins).
          type: list
          elements: str
    untitled:
      description: Sections that need a name in Dovecot 2.4 and have none.
      type: list
      elements: dict
      contains:
        setting:
          description: The kind of section.
          type: str
          sample: passdb
        place:
          description: The file and the line.
          type: str
    plugin_sections:
      description: The files and lines of sections C(plugin).
      type: list
      elements: str
    main_file:
      description: The file that Dovecot reads first.
      type: str
      sample: /etc/dovecot/dovecot.conf
    users:
      description: How many users the userdb lists.
      type: int
      sample: 4
    users_digest:
      description: A digest of their names. Hosts with the same users have the same one.
      type: str
selinux:
  description: Whether SELinux is on, enforcing or permissive.
  returned: when O(gather) has V(host)
  type: bool
  sample: false
peer_addresses:
  description: The addresses that O(peer) has, looked up on this host. Sorted; empty when it cannot be looked up.
  returned: when O(gather) has V(host)
  type: list
  elements: str
  sample: [192.0.2.2, '2001:db8::2']
peer_is_self:
  description: Whether one of these addresses is this host's own.
  returned: when O(gather) has V(host)
  type: bool
  sample: false
system_user:
  description: What O(system_user) is, null when there is no such user.
  returned: when O(gather) has V(host)
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
authorized_keys:
  description:
    - The files by which sshd lets the peer sync, as the role has written them. Those of O(system_user) and of the local
      users, sorted.
  returned: when O(gather) has V(host)
  type: list
  elements: str
  sample: [/srv/vmail/.ssh/authorized_keys]
ssh_client:
  description: Whether there is a command C(ssh).
  returned: when O(gather) has V(host)
  type: bool
  sample: true
ssh_host_keys:
  description: Whether there are public host keys of an OpenSSH server.
  returned: when O(gather) has V(host)
  type: bool
  sample: true
service:
  description: Whether what replication needs of Dovecot answers now.
  returned: when O(gather) has V(service)
  type: dict
  contains:
    replicator_problem:
      description: Why the replicator does not answer, null when it does.
      type: str
    userdb_problem:
      description: Why the userdb does not list its users, null when it does.
      type: str
    cannot_list:
      description:
        - What Dovecot says of a userdb that cannot list its users, with the lines of its log. Null when it lists them,
          and when it was not asked, as Dovecot does not answer.
      type: str
    users:
      description: How many users it lists, null when it does not.
      type: int
      sample: 4
    mail_by_userdb:
      description: Whether the userdb says where the mail of each of some users is. Null where it lists none.
      type: bool
    chrooted:
      description: Those of some users whose mail processes run in a chroot, by their home or a field of the userdb.
      type: list
      elements: str
      sample: []
config_problem:
  description: The complaint of doveconf, null without one. With one the rest of V(replication) is missing.
  returned: when O(gather) has V(replication)
  type: str
settings:
  description: What the configuration says about replication.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: dict
  contains:
    storage:
      description: The format of the mail, empty where the userdb says it, or nobody.
      type: str
      sample: maildir
    leftovers:
      description: Settings for a replicator or its plugin. On a host with Dovecot 2.4 they are left from before.
      type: list
      elements: dict
      contains:
        setting:
          description: The setting with the sections that it stands in.
          type: str
        place:
          description: The file and the line.
          type: str
    in_force:
      description: The settings that matter, with what is in force outside of protocol sections.
      type: list
      elements: dict
      contains:
        setting:
          description: Its name, such as V(replication_max_conns) or V(plugin/mail_replica).
          type: str
          sample: replication_max_conns
        value:
          description: The value in force. Null for C(doveadm_password), a secret.
          type: str
          sample: "10"
        place:
          description: The file and the line that decide, null for Dovecot's default.
          type: str
          sample: /etc/dovecot/conf.d/11-replication.conf line 3
    full_sync_interval:
      description: The setting C(replication_full_sync_interval) in seconds.
      type: int
      sample: 86400
    mail_plugins:
      description:
        - C(mail_plugins) outside of sections, in each enabled protocol that changes mail, and in each section for some
          connections only.
      type: list
      elements: dict
      contains:
        protocol:
          description: The protocol, null outside of sections.
          type: str
          sample: lmtp
        filter:
          description: The section C(local), C(remote) or C(local_name) around it, null without one.
          type: str
          sample: local 192.0.2.1
        value:
          description: The value in force. Where it names a file by C(<), the words in the file.
          type: str
          sample: notify replication
        place:
          description: The file and the line that decide, null for Dovecot's default.
          type: str
        left_out:
          description: Plugins of such a file that are not in force, as our settings repeat an older state of it.
          type: list
          elements: str
          sample: []
        not_installed:
          description:
            - Plugins without a file in C(mail_plugin_dir). A process of Dovecot that is to load one ends at once; with
              C(doveadm) among them, no peer can sync to this host.
          type: list
          elements: dict
          contains:
            plugin:
              description: The name.
              type: str
              sample: fts_xapian
            place:
              description: The file and the line that name it, null where a file outside of the configuration does.
              type: str
              sample: /etc/dovecot/conf.d/10-mail.conf line 9
    misplaced:
      description: Settings inside a plugin section, where Dovecot ignores them.
      type: list
      elements: dict
      contains:
        setting:
          description: Its name.
          type: str
          sample: plugin/replication_max_conns
        place:
          description: The file and the line.
          type: str
    forbidden:
      description: Settings with which the replicator does not work at all.
      type: list
      elements: dict
      contains:
        setting:
          description: Its name.
          type: str
          sample: plugin/replication_sync_timeout
        place:
          description: The file and the line.
          type: str
    unknown_listeners:
      description: Sockets of the services C(replicator) and C(aggregator) whose names mean nothing to Dovecot.
      type: list
      elements: str
      sample: [replicator-doveadn]
    namespaces:
      description: The namespaces in use, without other names of them (C(alias_for)).
      type: list
      elements: dict
      contains:
        type:
          description: V(private), V(public) or V(shared).
          type: str
        prefix:
          description: What the names of its mailboxes begin with.
          type: str
          sample: INBOX.
        separator:
          description: The character between the levels of a name; empty for that of the format.
          type: str
        inbox:
          description: Whether the INBOX is in it.
          type: bool
    mbox:
      description: The settings by which mail is in mbox.
      type: list
      elements: str
      sample: [mail_location]
    other_doveadm_listeners:
      description: Ports of the service C(doveadm) besides those of replication and of the HTTP API.
      type: list
      elements: dict
      contains:
        port:
          description: The port.
          type: str
          sample: "4711"
        place:
          description: The file and the line.
          type: str
    shared_namespaces:
      description: The types of the namespaces that several users see, V(public) or V(shared).
      type: list
      elements: str
      sample: [public]
    shared_quota:
      description: The databases, V(proxy) or V(redis), of quotas that both hosts may keep in one place.
      type: list
      elements: str
      sample: [proxy]
history:
  description:
    - What the collector of the role P(mailops.dovecot_replication.monitoring#role) remembers of the last 30 days, at
      most 120 moments, oldest first. Each has the worst of the time since the one before. Empty without a collector.
  returned: when O(gather) has V(history)
  type: list
  elements: dict
  contains:
    time:
      description: Unix seconds.
      type: int
      sample: 1795984107
    queued:
      description: Users with changes waiting, null where the replicator did not answer.
      type: int
      sample: 0
    failing:
      description: Users whose last sync had failed, null where the replicator did not answer.
      type: int
      sample: 0
    oldest_full_sync_age:
      description: Seconds since the full sync that was longest ago, null where there was none.
      type: int
      sample: 3600
metrics_dir:
  description: Where the playbook C(verify) writes metrics, null where the role
    P(mailops.dovecot_replication.monitoring#role) has not set that up.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: str
  sample: /var/lib/prometheus/node-exporter
listeners:
  description: The sockets C(replicator-doveadm) and C(replication-notify), and the FIFO C(replication-notify-fifo).
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: list
  elements: dict
  contains:
    name:
      description: The name by which Dovecot knows its purpose.
      type: str
      sample: replication-notify
    path:
      description: Where it is, or should be.
      type: str
      sample: /run/dovecot/replication-notify
    configured:
      description: All paths with this name in the configuration, without links.
      type: list
      elements: str
    in_base_dir:
      description: Whether RV(listeners[].path) is where Dovecot's own processes look for it.
      type: bool
    exists:
      description: Whether there is a file.
      type: bool
    mode:
      description: Its permissions as an octal number, null without a file.
      type: str
      sample: "0600"
    owner:
      description: Its owner, null without a file.
      type: str
      sample: vmail
    group:
      description: Its group, null without a file.
      type: str
      sample: root
    shut_out:
      description: The owners of mail who may not write to it.
      type: list
      elements: str
peer:
  description: Where the host syncs to, and how far a log-in there got.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: dict
  contains:
    replica:
      description: C(mail_replica) in force.
      type: str
      sample: tcp:mx2.example.org:12345
    problem:
      description: Why Dovecot cannot sync there, null without a reason. With one the rest is null or empty.
      type: str
    host:
      description: The host in it.
      type: str
      sample: mx2.example.org
    port:
      description: The port in it, or C(doveadm_port); null over ssh.
      type: int
      sample: 12345
    addresses:
      description: The addresses of the host, looked up on this one.
      type: list
      elements: str
    is_self:
      description: Whether one of them is this host's own.
      type: bool
    stage:
      description: V(ok), or the step at which the log-in ended.
      type: str
      choices:
        - ok
        - lookup
        - connect
        - silent
        - tls_expected
        - no_tls
        - certificate
        - greeting
        - no_password
        - password
        - ssh
    answer:
      description: What the system or the peer said then, literally.
      type: str
userdb:
  description: Whether the userdb lists its users.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: dict
  contains:
    users:
      description: How many it lists, null when it cannot.
      type: int
      sample: 4
    problem:
      description: Why it cannot, else null.
      type: str
    without_mail:
      description: System accounts that a userdb C(passwd) lists although they have no home, as V(nobody).
      type: dict
      contains: &excerpt
        count:
          description: How many.
          type: int
          sample: 1
        first:
          description: The first of them, at most O(limit).
          type: list
          elements: str
          sample: [alice@example.org]
    aliases:
      description: Listed names that are other names of an account, among those that were looked up.
      type: dict
      contains: *excerpt
    chrooted:
      description: Users whose mail processes run in a chroot, among those that were looked up.
      type: dict
      contains: *excerpt
    passed_over:
      description: Userdbs of the configuration that Dovecot passes over when it lists users.
      type: list
      elements: str
      sample: []
    required:
      description: O(require_iteration).
      type: bool
replicator:
  description: The replicator's list and queue.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: dict
  contains:
    problem:
      description: Why the replicator does not answer, else null. With a problem the rest is missing.
      type: str
    overview:
      description: The counts of C(doveadm replicator status), as in M(mailops.dovecot_replication.replicator_info).
      returned: when the replicator answers
      type: dict
      contains:
        queued_sync:
          description: Queued with priority C(sync).
          type: int
        queued_high:
          description: Queued with priority C(high).
          type: int
        queued_low:
          description: Queued with priority C(low).
          type: int
        queued_failed:
          description: Their last sync failed, and the next try is due.
          type: int
        queued_full_resync:
          description: Their regular full sync is due. New users are counted here.
          type: int
        waiting_failed:
          description: Their last sync failed, and the next try is not due yet.
          type: int
        known_users:
          description: All users on the list.
          type: int
    summary:
      description: The list in a few numbers, as in M(mailops.dovecot_replication.replicator_info).
      returned: when the replicator answers
      type: dict
    failing:
      description: Users whose last sync failed.
      returned: when the replicator answers
      type: dict
      contains: *excerpt
    standing:
      description: Queued users, when the queue does not move.
      returned: when the replicator answers
      type: dict
      contains: *excerpt
    unlisted:
      description: Users of the userdb whom the replicator does not list.
      returned: when the replicator answers
      type: dict
      contains: *excerpt
    unknown_users:
      description: Users whom the replicator lists and the userdb does not have.
      returned: when the replicator answers
      type: dict
      contains: *excerpt
    duplicate_spellings:
      description: Names that differ from another listed name in case only.
      returned: when the replicator answers
      type: dict
      contains: *excerpt
    running:
      description: The syncs under way.
      returned: when the replicator answers
      type: list
      elements: dict
      contains:
        username:
          description: The user.
          type: str
          sample: alice@example.org
        type:
          description: The kind of sync, null when the replicator does not tell.
          type: str
          sample: incremental
        status:
          description: How far it is, in Dovecot's words.
          type: str
        seconds:
          description: The age of the last fast sync of this user in seconds, null when there was none.
          type: int
accounts:
  description: O(accounts), and users that fail, stand in the queue, are unlisted, or are being synced.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: list
  elements: dict
  contains:
    username:
      description: The user.
      type: str
      sample: alice@example.org
    listed:
      description: Whether the userdb lists the user.
      type: bool
    exists:
      description: Whether the userdb has the user, null when it does not answer.
      type: bool
    noreplicate:
      description: Whether the userdb keeps the user from being replicated.
      type: bool
    mail_replica:
      description: The userdb field of that name, null without one.
      type: str
    mailboxes:
      description: The mailboxes of the user.
      type: list
      elements: dict
      contains:
        name:
          description: The name of the mailbox.
          type: str
          sample: INBOX
        guid:
          description: Its GUID, the same on both hosts after a sync.
          type: str
        uidvalidity:
          description: Its UIDVALIDITY, the same on both hosts after a sync.
          type: int
        uidnext:
          description: The UID that its next message will have.
          type: int
        messages:
          description: How many messages it has.
          type: int
          sample: 12
    read_problem:
      description: Why these mailboxes cannot be read, in Dovecot's words; null when they can.
      type: str
fields:
  description:
    - Userdb fields of users that replace settings on which replication relies, C(mail_plugins), C(mail_replica),
      C(noreplicate) and those of quotas, by their values.
    - Also C(mail) and C(mail_location), where several users have the same place, or mail is in mbox.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: list
  elements: dict
  contains:
    field:
      description: The name of the field.
      type: str
      sample: mail_plugins
    value:
      description: Its value.
      type: str
      sample: quota
    place:
      description: The file and the line that give it to all users of a userdb, null where it is in the users' entries.
      type: str
    users:
      description: The users with this value.
      type: dict
      contains: *excerpt
    replica:
      description: Where a C(mail_replica) leads, null for other fields.
      type: dict
      contains:
        problem:
          description: Why Dovecot cannot sync there, null without a reason.
          type: str
        port:
          description: The port in it, or C(doveadm_port); null over ssh.
          type: int
        addresses:
          description: The addresses of the host in it.
          type: list
          elements: str
        is_self:
          description: Whether one of them is this host's own.
          type: bool
errors:
  description: Dovecot's last errors about these users or the replicator.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: list
  elements: str
sample:
  description:
    - Users that both the userdb and the replicator list and that do not fail, at most O(sample). O(require_iteration)
      says what counts where the userdb lists nobody.
  returned: when O(gather) has V(replication), without RV(config_problem)
  type: list
  elements: str
dovecot_version:
  description: The version of Dovecot, null when it is not installed.
  returned: when O(gather) has V(host) or V(replication)
  type: str
  sample: 2.3.19.1 (9b53102964)
socket_path:
  description: The replicator's socket.
  returned: when O(gather) has V(replication)
  type: str
transport:
  description: The transport that was used.
  returned: success
  type: str
debug_log:
  description: What doveadm printed beside its answers.
  returned: when O(debug=true)
  type: list
  elements: str
"""

from typing import Any, Dict, Optional

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import rights
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    ListingFailed,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import sample
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import host
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.session import Session
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SYNCERS

# Of so many users the userdb is asked where their mail is, and whether in a chroot.
ASKED = 5


def work(session: Session) -> Dict[str, Any]:
    if session.transport == "http":
        raise DovecotError("Observing the host", "the API tells nothing of files and sockets", cure="use no api_url")
    params = session.params
    if "replication" in params["gather"]:
        # Others would see no password, no users and no errors, and take a healthy host for a broken one.
        rights.require_root(
            "Observing replication", "only root may read Dovecot's secrets, look up all users and read its errors"
        )
    result: Dict[str, Any] = dict(changed=False)
    if "host" in params["gather"]:
        version = session.doveconf.version()
        run_command = session.module.run_command
        result.update(host.observe(version, params["peer"], params["system_user"], params["config_file"], run_command))
    if "service" in params["gather"]:
        result["service"] = observe_service(session, version)
    if "history" in params["gather"]:
        from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import history

        result["history"] = history.remembered()
    if "upgrade" in params["gather"]:
        from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import upgrade

        result["upgrade"] = upgrade.observe(session)
    if "replication" in params["gather"]:
        # Imported only here, as it takes a tenth of the time that a look at the host does.
        from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import replication

        result.update(replication.observe(session))
    return result


def observe_service(session: Session, version: Optional[str]) -> Dict[str, Any]:
    """Return whether the replicator answers and the userdb lists its users."""
    result: Dict[str, Any] = {
        "replicator_problem": None,
        "userdb_problem": None,
        "cannot_list": None,
        "users": None,
        "mail_by_userdb": None,
        "chrooted": [],
    }
    try:
        if session.transport not in SYNCERS:
            session.doveconf.refuse_without_replicator(version)
        session.client.overview()
    except DovecotError as error:
        result["replicator_problem"] = str(error)
    try:
        names = session.userdb.names()
        result["users"] = len(names)
        accounts = session.userdb.accounts(sample(names, ASKED))
        if accounts:
            result["mail_by_userdb"] = all(account.has_place for account in accounts.values())
            result["chrooted"] = sorted(name for name in accounts if accounts[name].is_chrooted)
    except ListingFailed as error:
        result.update(userdb_problem=str(error), cannot_list=str(error.answer))
    except DovecotError as error:
        result["userdb_problem"] = str(error)
    return result


def main() -> None:
    Session.run(
        work,
        dict(
            gather=dict(
                type="list",
                elements="str",
                choices=["host", "service", "replication", "history", "upgrade"],
                default=["host", "replication"],
            ),
            peer=dict(type="str"),
            system_user=dict(type="str"),
            sample=dict(type="int", default=10),
            limit=dict(type="int", default=20),
            require_iteration=dict(type="bool", default=True),
            all_accounts=dict(type="bool", default=False),
            accounts=dict(type="list", elements="str", default=[]),
            timeout=dict(type="float", default=5),
        ),
    )


if __name__ == "__main__":
    main()
