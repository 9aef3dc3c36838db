# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last errors that Dovecot has in memory, wherever its log goes. PRIVATE to this collection."""

import os
import time
from typing import Callable, Iterator, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import LineSocket
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import decode_line

SOCKET = "log-errors"
# A process may answer before its error has reached the process that keeps the log.
LOOKS, BETWEEN_LOOKS = 5, 0.1


def since(base_dir: str, timeout: float, when: float, about: Callable[[str], bool]) -> List[str]:
    """Return the errors about something, oldest first and each once; waits a moment for the first one.

    :arg when: Unix seconds
    """
    found: List[str] = []
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN_LOOKS)
        found = list(dict.fromkeys(filter(about, read(base_dir, timeout, when))))
        if found:
            break
    return found


def read(base_dir: str, timeout: float, when: float) -> Iterator[str]:
    """Yield the errors since a time, oldest first; none where Dovecot is stopped.

    :arg when: Unix seconds
    """
    try:
        connection = LineSocket(os.path.join(base_dir, SOCKET), timeout, {})
    except DovecotError:
        return
    try:
        line = connection.read_line()
        while line is not None:
            # Type, time, prefix, text; src/log/log-error-buffer.c.
            fields = decode_line(line)
            if len(fields) == 4 and float(fields[1] or 0) >= when:
                yield fields[2].rstrip(": ") + ": " + fields[3]
            line = connection.read_line()
    except (DovecotError, ValueError):
        pass
    finally:
        connection.close()
