# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt)

DOCUMENTATION = r"""
name: replication_hosts
author:
  - The mailops.dovecot_replication contributors (@mailops)
version_added: 1.0.0
short_description: Fail where a pattern of hosts matches none
description:
  - Returns a pattern for the C(hosts) of a play, and fails when it matches no host of the inventory. Ansible itself
    treats a pattern that matches no host as success.
options:
  _terms:
    description: Patterns of hosts, or lists of them. Together they are one pattern.
    type: list
    elements: str
    required: true
notes:
  - The pattern V(dovecot_replication), the default of the playbooks of this collection, is returned as it is, so that
    their syntax can be checked without an inventory.
"""

EXAMPLES = r"""
- name: Verify replication
  hosts: "{{ lookup('mailops.dovecot_replication.replication_hosts', 'mx', 'backup:!retired') }}"
  tasks:
    - name: Verify replication
      ansible.builtin.import_role:
        name: mailops.dovecot_replication.replication
        tasks_from: verify
"""

RETURN = r"""
_raw:
  description: The pattern, as one string.
  type: list
  elements: str
"""

from typing import Any, List, Mapping, Optional

from ansible.errors import AnsibleError
from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

DEFAULT = "dovecot_replication"


class LookupModule(LookupBase):
    def run(self, terms: List[Any], variables: Optional[Mapping[str, Any]] = None, **kwargs: Any) -> List[str]:
        pattern = ",".join(map(str, self._flatten(terms)))
        if pattern != DEFAULT and not self._matching(pattern, variables):
            raise AnsibleError("No host of the inventory matches %s." % pattern)
        return [pattern]

    def _matching(self, pattern: str, variables: Optional[Mapping[str, Any]]) -> List[str]:
        inventory = lookup_loader.get("inventory_hostnames", loader=self._loader, templar=self._templar)
        return inventory.run([pattern], variables=variables)
