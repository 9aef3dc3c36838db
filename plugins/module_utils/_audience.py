# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether anybody still waits for a module. PRIVATE to this collection.

A job that is cancelled is killed on the controller, and its module on the host is told of nothing.
"""

import select

STDOUT = 1


def left_alone():
    """Return whether the other end of the standard output, to which a module's result goes, has been closed."""
    poller = select.poll()
    # No event is asked for, so poll tells of an end alone, and not of the controller having sent all that it will.
    poller.register(STDOUT, 0)
    return bool(poller.poll(0))
