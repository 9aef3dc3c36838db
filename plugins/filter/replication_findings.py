# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from typing import Any, Callable, Dict, List, Optional

from ansible.errors import AnsibleFilterError

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import findings


def replication_findings(observations: Any, proof: Optional[Dict[str, Any]] = None) -> List[Dict[str, str]]:
    """Return the faults of a pair; see replication_findings.yml."""
    if not isinstance(observations, dict):
        raise AnsibleFilterError("replication_findings needs a dict of hosts to results of node_info.")
    failed = sorted(host for host, seen in observations.items() if "hostname" not in seen)
    if failed:
        raise AnsibleFilterError(f"There is no result of node_info for {', '.join(failed)}.")
    return findings(observations, proof)


class FilterModule:
    def filters(self) -> Dict[str, Callable[..., Any]]:
        return {"replication_findings": replication_findings}
