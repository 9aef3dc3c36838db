# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that others read while they are written. PRIVATE to this collection."""

import os


def write_whole(path: str, text: str) -> None:
    """Write a file that is never seen by half, readable for all; raise OSError."""
    beside = "%s.%d.new" % (path, os.getpid())
    try:
        with open(beside, "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(beside, 0o644)
        os.rename(beside, path)
    except OSError:
        if os.path.exists(beside):
            os.unlink(beside)
        raise
