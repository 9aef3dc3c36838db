# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a host whose Dovecot has no replicator syncs. PRIVATE to this collection."""

import json
import os
from typing import List, NamedTuple, Optional

# The role ``replication`` writes it beside dovecot.conf.
FILE = "replication-syncer.json"
CONFIG_DIR = "/etc/dovecot"
SERVICE = "dovecot-replication.service"
TIMER = "dovecot-replication.timer"
# What stands in for a replicator; also as transports of the modules.
SYNCERS = TIMER_ENGINE, SERVICE_ENGINE = "timer", "service"


class Settings(NamedTuple):
    """Build it by keyword.

    :arg destination: where this host syncs to, such as ``tcp:mx2.example.org:12345``
    :arg doveadm: the command with its global options
    :arg interval: seconds between the starts of two rounds over all users
    :arg width: how many syncs run at once
    :arg patience: seconds after which a sync of one user is ended
    :arg lock_patience: seconds that a sync waits for another one of the same user
    :arg full_sync_interval: seconds after which a user is compared in full again
    :arg hold_file: while it exists, no sync is started
    :arg state_dir: where the state of users is kept
    :arg kept_out: names and masks of users who are not synced
    :arg engine: ``timer``, which starts a round again and again, or ``service``, which hears of changes
    :arg sweep_interval: seconds between two sweeps over all users, with the service
    :arg run_dir: where the sockets of the service are
    """

    destination: str
    doveadm: List[str]
    interval: int
    width: int
    patience: int
    lock_patience: int
    full_sync_interval: int
    hold_file: str
    state_dir: str
    kept_out: List[str]
    engine: str
    sweep_interval: int
    run_dir: str

    @property
    def socket(self) -> str:
        """The socket of the service that speaks as a replicator does."""
        return os.path.join(self.run_dir, "replicator-doveadm")

    @property
    def events(self) -> str:
        """The socket to which Dovecot tells changes."""
        return os.path.join(self.run_dir, "events")

    @property
    def database(self) -> str:
        return os.path.join(self.state_dir, "users.sqlite")

    @property
    def reading(self) -> str:
        """The file with numbers that everybody may read."""
        return os.path.join(self.state_dir, "reading.json")

    @property
    def lock(self) -> str:
        """The file that a run keeps locked, so that there is one at a time."""
        return os.path.join(self.state_dir, "lock")


def path_of(config_file: Optional[str]) -> str:
    """Return where the settings of a Dovecot are.

    >>> path_of("/opt/dovecot/etc/dovecot.conf")
    '/opt/dovecot/etc/replication-syncer.json'
    """
    return os.path.join(os.path.dirname(config_file) if config_file else CONFIG_DIR, FILE)


def engine_at(path: str) -> Optional[str]:
    """Return which of SYNCERS the settings at a path are for, None without any; of what cannot be read others tell."""
    try:
        return read_settings(path).engine
    except (OSError, ValueError):
        return TIMER_ENGINE if os.path.exists(path) else None


def read_settings(path: str) -> Settings:
    """Return the Settings in a file; raise OSError where there is none, ValueError where it holds something else."""
    with open(path) as stream:
        written = json.load(stream)
    try:
        return Settings(**{name: written[name] for name in Settings._fields})
    except (KeyError, TypeError) as error:
        raise ValueError("%s has no %s" % (path, error)) from None
