# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""On a host: ``send NUMBER USERS PREFIX`` delivers mail over LMTP, one after the other, to so many users in turn;
``see NUMBER USERS PREFIX SECONDS`` prints when it is in their Maildirs. Both print a line for each mail: its token, and the time.
"""

import os
import smtplib
import sys
import time


def users(number):
    return ["x%04d@example.org" % each for each in range(number)]


def send(number, names, prefix, pause):
    with smtplib.LMTP("/run/dovecot/lmtp") as client:
        for each in range(number):
            token = "%s-%04d" % (prefix, each)
            client.sendmail("a@example.org", [names[each % len(names)]], "Subject: %s\r\n\r\nHello.\r\n" % token)
            print(token, "%.4f" % time.time(), flush=True)
            time.sleep(pause)


def see(number, names, prefix, seconds):
    seen, known, end = set(), set(), time.time() + seconds
    places = ["/srv/vmail/%s/Maildir/%s" % (name, part) for name in names for part in ("new", "cur")]
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
                    print(subject[0], "%.4f" % now, flush=True)
        time.sleep(0.002)


if __name__ == "__main__":
    act, count, many, series, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
    (send if act == "send" else see)(count, users(many), series, last)
