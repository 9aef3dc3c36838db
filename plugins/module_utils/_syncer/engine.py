# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the timer's rounds and the service have in common. PRIVATE to this collection.

Both decide when ``doveadm sync`` runs, and for whom. How it is run, and what is kept of its end, is here.
"""

import os
import sqlite3
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import masks_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry, Store
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.syncing import (
    NO_SUCH_USER,
    Ended,
    command,
    ended,
    run,
)

# How often a sync is repeated at once because mail has changed meanwhile.
REPEATS = 3
LISTING_SECONDS = 120
# The journal's levels, as systemd reads them in front of a line.
ERR, INFO = "<3>", "<6>"
# How the end of a sync is told where it is no failure.
WORDS = {"missing": "the peer does not have this user", "gone": "this host does not have this user"}

T = TypeVar("T")
Run = Callable[[List[str], Optional[float]], Tuple[int, str, str]]


class Job(NamedTuple):
    """A sync to be run.

    :arg full: whether everything is compared
    :arg began: Unix seconds
    :arg asked: as ``Store.begin`` has it
    """

    name: str
    full: bool
    argv: List[str]
    began: int
    asked: int = 0


def changes(job: Job, end: Ended, now: int) -> Dict[str, Any]:
    """Return what a sync changes in the entry of its user."""
    values: Dict[str, Any] = {"fast": job.began, "status": end.status, "problem": end.problem}
    if end.kind == "synced":
        values.update(success=now, failed=0, missing=0)
        if job.full:
            values["full"] = job.began
    elif end.kind == "missing":
        values.update(failed=0, missing=1)
    else:
        values.update(failed=1)
    return values


class Engine:
    """Runs syncs.

    :arg run_command: what runs a command for at most so many seconds
    :arg say: what writes a line for the journal
    """

    def __init__(
        self, settings: Settings, store: Store, run_command: Run = run, say: Optional[Callable[[str], Any]] = None
    ) -> None:
        self._heed(settings)
        self._store = store
        self._run = run_command
        self._say = say or print_line

    def _heed(self, settings: Settings) -> None:
        self._settings = settings
        self.is_kept_out = masks_matcher(settings.kept_out)

    def listing(self) -> Tuple[Optional[List[str]], str]:
        """Return the users whom the userdb lists, but for those who are kept out; or None, and why it does not."""
        status, out, err = self._run(self._settings.doveadm + ["user", "*"], LISTING_SECONDS)
        names = [name for name in out.split("\n") if name]
        if status or not names:
            return None, (err.strip().splitlines() or ["doveadm user '*' prints nothing"])[-1]
        return [name for name in names if not self.is_kept_out(name)], ""

    def note_listing(self, problem: str) -> None:
        """Keep why the userdb does not list its users, empty where it does."""
        if problem:
            self._say("%sthe userdb does not list its users: %s" % (ERR, problem))
        self._kept(lambda: self._store.note(listing_problem=problem), None)

    def is_held(self) -> bool:
        """Tell whether the playbook ``drain`` keeps syncs from being started."""
        return os.path.exists(self._settings.hold_file)

    def job(self, name: str, slot: int, entry: Optional[Entry]) -> Job:
        """Return the sync of a user, which counts as begun.

        :arg entry: what is known of the user
        """
        settings, now = self._settings, int(time.time())
        old = entry is None or not entry.full <= now < entry.full + settings.full_sync_interval
        state = "" if old else self._store.state(name)
        argv, full = command(settings.doveadm, name, settings.destination, settings.lock_patience, state)
        return Job(name, full, argv, now, self._kept(lambda: self._store.begin(slot, name, full), 0))

    def sync(self, job: Job) -> Ended:
        """Run a sync, again where mail has changed meanwhile; in a thread of its own."""
        try:
            for _repeat in range(REPEATS):
                end = ended(*self._run(job.argv, self._settings.patience))
                if end.kind != "again":
                    break
        except OSError as error:
            return Ended("failed", 0, "%s: %s" % (job.argv[0], error), "")
        if end.kind == "missing" and not self.has_account(job.name):
            return end._replace(kind="gone")
        return end

    def has_account(self, name: str) -> bool:
        """Tell whether this host has such a user; true where the userdb does not answer."""
        return self._run(self._settings.doveadm + ["user", "-u", name], LISTING_SECONDS)[0] != NO_SUCH_USER

    def take_down(self, slot: int, job: Job, end: Ended) -> Dict[str, Any]:
        """Keep how a sync has ended; return what that changes in the entry of its user."""
        # After any doubt everything is compared, so only a success leaves a state.
        state = end.state if end.kind == "synced" else ""
        values = changes(job, end, int(time.time()))
        self._kept(lambda: self._store.end(slot, job.name, job.asked, values, state), None)
        if end.kind == "gone":
            self._kept(lambda: self._store.forget([job.name]), None)
        if end.kind != "synced":
            self._say("%s%s: %s" % (ERR, job.name, WORDS.get(end.kind) or "sync failed: " + end.problem))
        return values

    def _kept(self, keep: Callable[[], T], otherwise: T) -> T:
        """Return what becomes of writing to the store; ``otherwise`` is for an engine that goes on without."""
        return keep()


def print_line(line: str) -> None:
    """Write a line for the journal."""
    sys.stdout.write(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n")
    sys.stdout.flush()


def opened(path: str) -> Store:
    """Return the Store; one that is damaged is put aside, and everyone is compared in full again."""
    try:
        store = Store(path)
        store.entries([])
        store.facts()
        return store
    except sqlite3.DatabaseError as error:
        if "malformed" not in str(error) and "not a database" not in str(error):
            raise
        print_line("%s%s: %s; it begins anew" % (ERR, path, error))
        os.rename(path, path + ".damaged")
        return Store(path)
