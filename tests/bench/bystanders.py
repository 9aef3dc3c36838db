# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Others that use a Dovecot while something else is done to it, run on its host.

Arguments: its configuration file, for how many seconds, and a user. One asks the replicator for its overview again and
again, as a monitor does; another one delivers mail to the user, of which the replicator is told. Prints an object of
JSON: ``longest`` and ``median``, how long an overview took in milliseconds, and ``deliveries``, how many in a second.
"""

import json
import socket
import statistics
import subprocess
import sys
import threading
import time

PAUSE = 0.002
MAIL = b"From: someone@example.org\nSubject: by the way\n\nHello.\n"


def ask(deadline, waits):
    replicator = socket.socket(socket.AF_UNIX)
    replicator.connect("/run/still/replicator-doveadm")
    answers = replicator.makefile("rb")
    answers.readline()
    replicator.sendall(b"VERSION\treplicator-doveadm-client\t1\t0\n")
    while time.monotonic() < deadline:
        began = time.monotonic()
        replicator.sendall(b"STATUS\n")
        while answers.readline() != b"\n":
            pass
        waits.append((time.monotonic() - began) * 1000)
        time.sleep(PAUSE)


def deliver(config_file, user, deadline):
    """Return how many mails were delivered."""
    count = 0
    while time.monotonic() < deadline:
        command = ["/usr/lib/dovecot/dovecot-lda", "-c", config_file, "-d", user]
        subprocess.run(command, input=MAIL, check=True)
        count += 1
    return count


def main():
    config_file, seconds, user = sys.argv[1:]
    began = time.monotonic()
    deadline = began + float(seconds)
    waits = []
    asking = threading.Thread(target=ask, args=(deadline, waits))
    asking.start()
    delivered = deliver(config_file, user, deadline)
    rate = delivered / (time.monotonic() - began)
    asking.join()
    print(json.dumps({"longest": max(waits), "median": statistics.median(waits), "deliveries": rate}))


if __name__ == "__main__":
    main()
