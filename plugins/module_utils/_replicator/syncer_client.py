# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What syncs a Dovecot that has no replicator, as the modules see one. PRIVATE to this collection.

What a replicator holds in memory is in a database here (``_syncer/store.py``). With a timer a request is a row in it,
and a start of a round; a service has a socket as a replicator has.
"""

import errno
import fcntl
import os
import sqlite3
import time
from typing import Callable, Dict, Iterable, List, Optional, TypeVar

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import RunCommand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import (
    mask_matcher,
    masks_matcher,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.rights import AS_ROOT
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    PRIORITIES,
    DsyncSlot,
    UserStatus,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.socket_client import SocketClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import SERVICE, Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import (
    Entry,
    Store,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.view import (
    FULL,
    NORMAL,
    overview_of_rows,
    statuses_of,
)

T = TypeVar("T")

IDLE = DsyncSlot(status="Not connected")
# Seconds between two starts of a service that has overlooked a request.
START_AGAIN = 2.0
STOPPED = (
    "%s is stopped" % SERVICE,
    "run `systemctl enable --now %s`; `journalctl -u %s` says why it has ended" % (SERVICE, SERVICE),
)
SERVICE_CURES = {
    errno.ENOENT: STOPPED,
    errno.ECONNREFUSED: STOPPED,
    errno.EACCES: ("only root may ask it", AS_ROOT),
}


class Syncer:
    """What is known of the syncs on a host without a replicator, whatever starts them. Raises DovecotError."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # Whether the role's replication_excluded_users has a user.
        self.is_kept_out = masks_matcher(settings.kept_out)
        self._open: Optional[Store] = None

    def problems(self, names: List[str]) -> Dict[str, str]:
        """As ``ReplicatorClient.problems``."""
        found = self.read(lambda store: store.entries(names))
        return {name: found[name].problem for name in names if name in found and found[name].problem}

    def facts(self) -> Dict[str, str]:
        """Return what is known of the rounds: ``round_began``, ``round_ended``, ``round_problem``, and others."""
        return self.read(Store.facts)

    def missing(self) -> List[str]:
        """Return the users whom the peer does not have, sorted."""
        return sorted(entry.name for entry in self.read(Store.entries).values() if entry.missing)

    def failing(self) -> List[Entry]:
        """Return what is known of the users whose last sync has failed, sorted by name."""
        return sorted(entry for entry in self.read(Store.entries).values() if entry.failed)

    def on_hold(self) -> bool:
        """Return whether the playbook ``drain`` keeps syncs from being started."""
        return os.path.exists(self.settings.hold_file)

    def is_running(self) -> bool:
        """Tell whether a round, or the service, has the lock."""
        try:
            with open(self.settings.lock, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None

    def read(self, ask: Callable[[Store], T]) -> T:
        """Return what the store answers."""
        try:
            if self._open is None:
                self._open = Store(self.settings.database)
            return ask(self._open)
        except (sqlite3.Error, OSError) as error:
            raise DovecotError(
                "Opening %s" % self.settings.database,
                error,
                "the playbook setup has not been run on this host, or this is not root",
                AS_ROOT + ", after `ansible-playbook mailops.dovecot_replication.setup`",
            ) from error


class ServiceClient(SocketClient):
    """The service, which speaks as a replicator does. As SocketClient."""

    def __init__(self, syncer: Syncer, timeout: float) -> None:
        self._syncer = syncer
        super().__init__(syncer.settings.socket, timeout, SERVICE_CURES)

    def problems(self, names: List[str]) -> Dict[str, str]:
        return self._syncer.problems(names)

    def close(self) -> None:
        super().close()
        self._syncer.close()


class TimerClient(ReplicatorClient):
    """As ReplicatorClient.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    """

    def __init__(self, syncer: Syncer, run_command: RunCommand) -> None:
        self._syncer = syncer
        self._run_command = run_command
        self._started: Optional[float] = None

    def overview(self) -> Dict[str, int]:
        return overview_of_rows(self.users().values())

    def users(self, mask: str = "*") -> Dict[str, UserStatus]:
        matches = mask_matcher(mask)
        entries = self._syncer.read(Store.entries).values()
        if any(entry.priority for entry in entries):
            # A request that comes while a run is ending is seen by nobody.
            self._start(only_where_idle=True)
        rows = statuses_of(
            entries, self._syncer.facts(), self._syncer.is_running(), self._syncer.settings.interval, time.time()
        )
        # Who is kept out from now on is in the database until the next round.
        return {name: rows[name] for name in rows if matches(name) and not self._syncer.is_kept_out(name)}

    def dsyncs(self) -> List[DsyncSlot]:
        busy = self._syncer.read(Store.slots) if self._syncer.is_running() else {}
        return [
            DsyncSlot(busy[slot][0], FULL if busy[slot][1] else NORMAL, "doveadm sync") if slot in busy else IDLE
            for slot in range(self._syncer.settings.width)
        ]

    def replicate(self, names: Iterable[str], priority: str) -> None:
        wanted = list(names)
        if wanted:
            self._syncer.read(lambda store: store.request(wanted, PRIORITIES.index(priority)))
            self._start()

    def remove(self, names: Iterable[str]) -> None:
        wanted = list(names)
        self._syncer.read(lambda store: store.forget(wanted))

    def problems(self, names: List[str]) -> Dict[str, str]:
        return self._syncer.problems(names)

    def close(self) -> None:
        self._syncer.close()

    def _start(self, only_where_idle: bool = False) -> None:
        if self._syncer.on_hold():
            return
        now = time.monotonic()
        if only_where_idle:
            recently = self._started is not None and now - self._started < START_AGAIN
            if recently or self._syncer.is_running():
                return
        self._started = now
        rc, dummy, err = self._run_command(["systemctl", "start", "--no-block", SERVICE])
        if rc:
            raise DovecotError(
                "Starting %s" % SERVICE,
                err.strip() or "status %d" % rc,
                cure="run `ansible-playbook mailops.dovecot_replication.setup`, which installs it",
            )
