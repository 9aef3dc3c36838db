#!/usr/bin/python
# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
module: replication_configure
short_description: Write the configuration that the role replication has decided on
version_added: 1.0.0
description:
  - Takes what M(mailops.dovecot_replication.replication_pair) has decided, as the variable C(__replication_decision),
    and has M(mailops.dovecot_replication.dovecot_config) write it. A task of the role.
  - Decides again where the other host of the pair was looked at meanwhile and that makes a difference, such as when it
    has Dovecot 2.4. Fails where both hosts call themselves by one name.
  - Returns what M(mailops.dovecot_replication.dovecot_config) returns.
  - Has no options. To render them would take the controller as long as all the rest of the task.
author:
  - The mailops.dovecot_replication contributors (@mailops)
extends_documentation_fragment:
  - mailops.dovecot_replication.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Secrets are masked.
  idempotent:
    support: full
options: {}
seealso:
  - module: mailops.dovecot_replication.replication_pair
  - module: mailops.dovecot_replication.dovecot_config
"""

EXAMPLES = r"""
- name: Decide, with the variables of the inventory
  mailops.dovecot_replication.replication_pair:
  register: __replication_decision

- name: Write the configuration
  mailops.dovecot_replication.replication_configure:
  register: __replication_config
  notify: Reload Dovecot

- name: Only show what would change
  mailops.dovecot_replication.replication_configure:
  check_mode: true
  diff: true
  register: preview
"""

RETURN = r"""
# What M(mailops.dovecot_replication.dovecot_config) returns.
{}
"""
