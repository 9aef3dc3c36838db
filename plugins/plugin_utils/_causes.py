# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why the sync of a user fails, by what Dovecot logs of it. Pure. PRIVATE to this collection.

Often the reason is in the log of the peer, where mail is saved. All were seen on live hosts; the quota of a file system
by an error that strace put into Dovecot's system calls. Dovecot checks no quota of its own in a sync.
"""

import re
from typing import List, NamedTuple, Optional, Pattern, Tuple


class Cause(NamedTuple):
    """A reason.

    :arg pattern: of a line of the log
    :arg reason: what is wrong, a clause; it may name the ``host`` that has logged it
    :arg cure: the next step, a sentence, with the ``host`` and the ``command`` that syncs the users again
    """

    pattern: Pattern[str]
    reason: str
    cure: str


CAUSES = [
    Cause(
        re.compile("No space left on device|Not enough disk space|Out of disk space"),
        "the disk of %(host)s is full, or has no inodes left",
        "Make room where the mail of %(host)s is (`df -h` and `df -i` tell), then run `%(command)s`.",
    ),
    Cause(
        re.compile("Disk quota exceeded|Quota exceeded"),
        "a quota of the file system of %(host)s is used up",
        "Raise the quota of the mail's owner on %(host)s (`repquota -a` tells), then run `%(command)s`.",
    ),
    Cause(
        re.compile("Mail size is larger than the maximum size allowed"),
        "%(host)s refuses a mail as it is too large",
        "Set quota_max_mail_size on %(host)s to what the other host has, reload Dovecot, then run `%(command)s`.",
    ),
    Cause(
        # Not that of a socket, which the peer repeats with each sync.
        re.compile(r"\b(?!net_connect)[a-z]+\([^)]*\) failed: Permission denied"),
        "the mail's owner may not read or write a file on %(host)s",
        "Give the files that the log names on %(host)s to the owner of the mail, then run `%(command)s`.",
    ),
    Cause(
        re.compile("Couldn't find namespace for mailbox"),
        "%(host)s has no namespace for a mailbox of the other host",
        "Configure the namespaces of both hosts alike, reload Dovecot on both, then run `%(command)s`.",
    ),
    Cause(
        re.compile("Mail storage autodetection failed"),
        "Dovecot does not know where the mail is on %(host)s, as mail_location is not set",
        "Set mail_location on both hosts, such as `mail_location = maildir:~/Maildir`, reload Dovecot on both, then "
        "run `%(command)s`.",
    ),
    Cause(
        re.compile("Panic: file mbox"),
        "Dovecot panics on %(host)s when it syncs mbox",
        "Convert the mail to another format, such as maildir or sdbox; mbox cannot be replicated.",
    ),
    Cause(
        re.compile("Private key not available|Password not available"),
        "only the user's password opens the mail on %(host)s, and a sync has none",
        "Such mail cannot be replicated: use a key without a password on both hosts, or give these users the userdb "
        "field noreplicate on both.",
    ),
]


def cause_of(lines: List[Tuple[str, str]]) -> Optional[Tuple[Cause, str]]:
    """Return the first cause that lines of logs show, and the host that has logged it.

    :arg lines: pairs of host and text

    >>> cause, host = cause_of([("mx1", "Remote closed"), ("mx2", "write() failed: No space left on device")])
    >>> cause.reason % {"host": host}
    'the disk of mx2 is full, or has no inodes left'
    """
    return next(
        ((cause, host) for cause in CAUSES for host, text in lines if cause.pattern.search(text)),
        None,
    )
