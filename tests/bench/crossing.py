# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a host: ``send NUMBER USERS PREFIX PAUSE`` delivers mail over LMTP to so many users in turn, and ``see NUMBER
USERS PREFIX SECONDS`` waits until it is in their Maildirs. Both print a line for each mail: its token, and the time.
"""

import os
import smtplib
import sys
import time


def users(number):
    return [f"x{each:04}@example.org" for each in range(number)]


def send(number, names, prefix, pause):
    with smtplib.LMTP("/run/dovecot/lmtp") as client:
        for each in range(number):
            token = f"{prefix}-{each:04}"
            client.sendmail("a@example.org", [names[each % len(names)]], f"Subject: {token}\r\n\r\nHello.\r\n")
            print(token, f"{time.time():.4f}", flush=True)
            time.sleep(pause)


def see(number, names, prefix, seconds):
    seen, known, end = set(), set(), time.time() + seconds
    places = [f"/srv/vmail/{name}/Maildir/{part}" for name in names for part in ("new", "cur")]
    while len(seen) < number and time.time() < end:
        for place in places:
            for file in os.listdir(place) if os.path.isdir(place) else ():
                # The part before the flags is the mail's name for ever.
                if (place[:-3], file.partition(":")[0]) in known:
                    continue
                known.add((place[:-3], file.partition(":")[0]))
                now = time.time()
                with open(os.path.join(place, file), errors="replace") as mail:
                    subject = [line[9:].strip() for line in mail if line.startswith("Subject: ")]
                if subject and subject[0].startswith(prefix) and subject[0] not in seen:
                    seen.add(subject[0])
                    print(subject[0], f"{now:.4f}", flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    act, count, many, series, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
    (send if act == "send" else see)(count, users(many), series, last)
