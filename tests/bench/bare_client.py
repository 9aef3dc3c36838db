# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The floor: the round trips of ``replicator_user`` with users to add, and nothing else.

Arguments: base_dir, and a file with a name in each line. Reads the list and the userdb, looks up each name that is not
on the list, queues it, and reads the overview. No check of any answer, no escaping, no message; but a listing that
Dovecot has forgotten, as it may for a minute, is asked for again here, too.
"""

import os
import socket
import sys

WINDOW = 100
LISTING_PAUSE = 3


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection, connection.makefile("rb")


def list_users(base_dir):
    userdb, accounts = connect(os.path.join(base_dir, "auth-userdb"))
    while not accounts.readline().startswith(b"SPID"):
        pass
    userdb.settimeout(LISTING_PAUSE)
    userdb.sendall(b"VERSION\t1\t0\nLIST\t1\tservice=doveadm\n")
    listing = bytearray()
    while b"DONE\t" not in listing[-20:]:
        listing += userdb.recv(1 << 16)
    return userdb, accounts


def main():
    base_dir, names_file = sys.argv[1:]
    with open(names_file, "rb") as lines:
        names = lines.read().split()
    replicator, answers = connect(os.path.join(base_dir, "replicator-doveadm"))
    answers.readline()
    replicator.sendall(b"VERSION\treplicator-doveadm-client\t1\t0\nSTATUS\t*\n")
    listed = set()
    for line in iter(answers.readline, b"\n"):
        listed.add(line.partition(b"\t")[0])
    try:
        userdb, accounts = list_users(base_dir)
    except socket.timeout:
        userdb, accounts = list_users(base_dir)
    new = [name for name in names if name not in listed]
    for start in range(0, len(new), WINDOW):
        window = list(enumerate(new[start : start + WINDOW], start + 2))
        userdb.sendall(b"".join(b"USER\t%d\t%s\tservice=doveadm\n" % request for request in window))
        for _answer in window:
            accounts.readline()
    for name in new:
        replicator.sendall(b"REPLICATE\tlow\t\t%s\n" % name)
        answers.readline()
    replicator.sendall(b"STATUS\n")
    while answers.readline() != b"\n":
        pass


if __name__ == "__main__":
    main()
