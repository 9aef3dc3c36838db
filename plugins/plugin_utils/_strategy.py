# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the hosts of a pair go through the tasks of a play together. PRIVATE."""

from typing import Any, Iterable, List, Mapping

from ansible.errors import AnsibleActionFail

# By ansible-core's names; other collections have none that is documented to wait for all hosts.
LINEAR = {prefix + name for prefix in ("", "ansible.builtin.", "ansible.legacy.") for name in ("linear", "debug")}
REFUSAL = (
    "This play runs with the strategy %s, and nothing was changed. The role decides and proves from what it has seen "
    "on both hosts of a pair, and this strategy does not keep %s at the same task. Next step: set "
    "`strategy: ansible.builtin.linear` in the play, or run it with `--limit` to one host of the pair."
)


def require_together(task: Any, members: Iterable[str], variables: Mapping[str, Any]) -> None:
    """Fail where the strategy of a play lets hosts of one pair run ahead of each other.

    :arg task: the task that is run
    :arg members: the hosts of the pair
    :arg variables: of the task
    """
    # Not those of the batch, which a host leaves when it fails: the other one would then go on alone.
    here: List[str] = [member for member in members if member in variables["ansible_play_hosts_all"]]
    if len(here) < 2:
        return
    name = strategy_of(task)
    if name not in LINEAR:
        raise AnsibleActionFail(REFUSAL % (name, " and ".join(here)))


def strategy_of(task: Any) -> str:
    """Return the strategy of the play that a task is part of."""
    part = task
    while getattr(part, "_play", None) is None:
        part = part._parent
    return str(part._play.strategy)
