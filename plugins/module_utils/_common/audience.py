# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the controller still waits for a module. PRIVATE to this collection.

When a job is cancelled, it is killed on the controller. Its module on the host gets no signal.
"""

import select

STDOUT = 1


def controller_gone() -> bool:
    """Return whether the other end of the standard output, to which a module's result goes, has been closed."""
    poller = select.poll()
    # With no event requested, poll reports only that the other end is closed.
    poller.register(STDOUT, 0)
    return bool(poller.poll(0))
