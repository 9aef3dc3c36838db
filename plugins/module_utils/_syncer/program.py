# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that syncs, for a Dovecot that has no replicator. PRIVATE to this collection.

``tests/tools/standalone.py`` makes one file of this module and what it imports, which the role ``replication``
installs. Its settings say whether it is a round, which a timer starts, or a service.
"""

import argparse
import fcntl
import os
import sqlite3
from typing import Sequence

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.engine import (
    ERR,
    INFO,
    opened,
    print_line,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.rounds import DONE, TROUBLE, Round
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.service import Service
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import (
    SERVICE_ENGINE,
    path_of,
    read_settings,
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Sync users with the peer where that is due.")
    parser.add_argument("--config", default=path_of(None), help="the file that the role replication writes")
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.config)
        serves = settings.engine == SERVICE_ENGINE
        if os.path.exists(settings.hold_file) and not serves:
            print_line(INFO + "on hold, as %s exists" % settings.hold_file)
            return DONE
        with open(settings.lock, "w") as lock:
            # Another run may just be ending.
            fcntl.flock(lock, fcntl.LOCK_EX)
            store = opened(settings.database)
            try:
                if serves:
                    Service(settings, store, options.config).serve()
                    return DONE
                return Round(settings, store).everything()
            finally:
                store.close()
    except (OSError, ValueError, sqlite3.Error) as error:
        print_line("%s%s: %s" % (ERR, type(error).__name__, error))
        return TROUBLE
