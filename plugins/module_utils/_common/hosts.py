# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of hosts, as the resolver of this one knows them. PRIVATE to this collection."""

import ipaddress
import socket
import time
from typing import List

# Seconds before the resolver is asked once more.
PAUSE = 1.0


def addresses_of(name: str) -> List[str]:
    """Return the addresses of a host, a sorted list, empty when it cannot be looked up."""
    for pause in (PAUSE, 0.0):
        try:
            found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
            return sorted({str(address[0]) for *dummy, address in found})
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN:
                break
            # The resolver says that it may know in a moment.
            time.sleep(pause)
        except UnicodeError:
            break
    return []


def is_own(address: str) -> bool:
    """Tell whether an address is this host's own: only then would the host reach it from itself. Nothing is sent."""
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        family, *dummy, where = socket.getaddrinfo(address, 9, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            trial.connect(where)
            return trial.getsockname()[0] == where[0]
    except OSError:
        return False
