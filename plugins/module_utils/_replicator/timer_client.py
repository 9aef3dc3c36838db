# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The timer's syncs as the modules see a replicator, on a Dovecot that has none. PRIVATE to this collection.

What a replicator holds in memory is in a database here (``_timer/store.py``); a request is a row in it, and a start of
the service.
"""

import fcntl
import os
import sqlite3
import time
from typing import Callable, Dict, Iterable, List, Optional, TypeVar

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.commands import RunCommand
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.rights import AS_ROOT
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    NEVER,
    DsyncSlot,
    Moment,
    UserStatus,
    moment_at,
    success_at,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.settings import SERVICE, Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.store import (
    PRIORITIES,
    Entry,
    Store,
)

T = TypeVar("T")

IDLE = DsyncSlot(status="Not connected")
# Seconds between two starts of a service that has overlooked a request.
START_AGAIN = 2.0


class TimerClient(ReplicatorClient):
    """As ReplicatorClient.

    :arg run_command: ``AnsibleModule.run_command`` or what behaves like it
    """

    def __init__(self, settings: Settings, run_command: RunCommand) -> None:
        self.settings = settings
        self._run_command = run_command
        self._started: Optional[float] = None
        self._open: Optional[Store] = None

    def overview(self) -> Dict[str, int]:
        rows = self.users().values()
        failed = [row for row in rows if row.failed and row.priority == "none"]
        never = [row for row in rows if row.full_sync == NEVER and not row.failed and row.priority == "none"]
        due = sum(row.next_sync == 0 for row in failed)
        return {
            "queued_sync": sum(row.priority == "sync" for row in rows),
            "queued_high": sum(row.priority == "high" for row in rows),
            "queued_low": sum(row.priority == "low" for row in rows),
            "queued_failed": due,
            "queued_full_resync": len(never),
            "waiting_failed": len(failed) - due,
            "known_users": len(rows),
        }

    def users(self, mask: str = "*") -> Dict[str, UserStatus]:
        matches = mask_matcher(mask)
        entries = self._read(Store.entries).values()
        if any(entry.priority for entry in entries):
            # A request that comes while a run is ending is seen by nobody.
            self._start(only_where_idle=True)
        facts = self._read(Store.facts)
        now = time.time()
        began, running = int(facts.get("round_began", 0)), self.is_running()
        # Of those whom the peer does not have a replicator knows nothing, either.
        return {
            entry.name: status_of(entry, began, running, self.settings.interval, now)
            for entry in entries
            if matches(entry.name) and not entry.missing
        }

    def dsyncs(self) -> List[DsyncSlot]:
        busy = self._read(Store.slots) if self.is_running() else {}
        return [
            DsyncSlot(busy[slot][0], "full" if busy[slot][1] else "normal", "doveadm sync") if slot in busy else IDLE
            for slot in range(self.settings.width)
        ]

    def replicate(self, names: Iterable[str], priority: str) -> None:
        wanted = list(names)
        if wanted:
            self._read(lambda store: store.request(wanted, PRIORITIES.index(priority)))
            self._start()

    def remove(self, names: Iterable[str]) -> None:
        wanted = list(names)
        self._read(lambda store: store.forget(wanted))

    def problems(self, names: List[str]) -> Dict[str, str]:
        found = self._read(lambda store: store.entries(names))
        return {name: found[name].problem for name in names if name in found and found[name].problem}

    def facts(self) -> Dict[str, str]:
        """Return what is known of the rounds: ``round_began``, ``round_ended``, ``round_problem``, and others."""
        return self._read(Store.facts)

    def missing(self) -> List[str]:
        """Return the users whom the peer does not have, sorted."""
        return sorted(entry.name for entry in self._read(Store.entries).values() if entry.missing)

    def failing(self) -> List[Entry]:
        """Return what is known of the users whose last sync has failed, sorted by name."""
        return sorted(entry for entry in self._read(Store.entries).values() if entry.failed)

    def on_hold(self) -> bool:
        """Return whether the playbook ``drain`` keeps syncs from being started."""
        return os.path.exists(self.settings.hold_file)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None

    def _read(self, ask: Callable[[Store], T]) -> T:
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

    def is_running(self) -> bool:
        """Tell whether a run has its lock."""
        try:
            with open(self.settings.lock, "a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def _start(self, only_where_idle: bool = False) -> None:
        if self.on_hold():
            return
        now = time.monotonic()
        if only_where_idle:
            recently = self._started is not None and now - self._started < START_AGAIN
            if recently or self.is_running():
                return
        self._started = now
        rc, dummy, err = self._run_command(["systemctl", "start", "--no-block", SERVICE])
        if rc:
            raise DovecotError(
                "Starting %s" % SERVICE,
                err.strip() or "status %d" % rc,
                cure="run `ansible-playbook mailops.dovecot_replication.setup`, which installs it",
            )


def status_of(entry: Entry, round_began: int, running: bool, interval: int, now: float) -> UserStatus:
    """Return an entry as a replicator tells it.

    :arg round_began: when the last round over all users began, Unix seconds
    :arg running: whether syncs are under way
    """
    success: Moment = success_at(entry.success, now) if entry.success else NEVER
    due = not entry.fast or running and entry.fast < round_began
    return UserStatus(
        username=entry.name,
        priority=PRIORITIES[entry.priority],
        fast_sync=moment_at(entry.fast, now),
        full_sync=moment_at(entry.full, now),
        successful_sync=success,
        failed=entry.failed,
        next_sync=0 if due else max(0, int(max(round_began, entry.fast) + interval - now)),
    )
