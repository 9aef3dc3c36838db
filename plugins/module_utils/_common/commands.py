# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands whose time is limited. PRIVATE to this collection."""

from typing import Callable, List, Optional, Tuple

# ``AnsibleModule.run_command``, or what behaves like it: takes a command and returns its exit status, standard output
# and standard error.
RunCommand = Callable[..., Tuple[int, str, str]]

# The exit status of timeout(1) when it has ended the command.
TIMED_OUT = 124
# Of what doveadm prints when it may not write its statistics, as when it does not run as root.
HARMLESS = "stats-writer"


def limited(command: List[str], seconds: float, timeout_path: Optional[str]) -> List[str]:
    """Return the command with timeout(1) before it; unchanged on a host that has none.

    :arg timeout_path: path of timeout(1), None where there is none
    """
    return [timeout_path, str(seconds)] + command if timeout_path else command
