# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Syncs all users with the peer, for a Dovecot that has no replicator. PRIVATE to this collection.

``tests/tools/standalone.py`` makes one file of this module and what it imports, which the role ``replication``
installs. A timer of systemd starts it. It decides when ``doveadm sync`` runs; what becomes of mail is dsync's alone.

A run first syncs those for whom somebody asks, and goes on as long as somebody does. When a round over all users is
due, it syncs them all, those first who have waited longest.
"""

import argparse
import concurrent.futures
import fcntl
import json
import os
import sqlite3
import sys
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.writing import write_whole
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.settings import (
    Settings,
    path_of,
    read_timer_settings,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.store import Entry, Store
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.syncing import (
    NO_SUCH_USER,
    Ended,
    command,
    ended,
    run,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._timer.view import reading_of, statuses_of

# How often a sync is repeated at once because mail has changed meanwhile.
REPEATS = 3
# So many outages in a row, without a success between them, and the peer is taken for gone.
OUTAGES = 3
# How often a run looks for new requests while it has syncs under way, in seconds.
LOOK = 0.2
LISTING_SECONDS = 120
TELLING_PAUSE, TELLING_SHARE = 5.0, 20
# The journal's levels, as systemd reads them in front of a line.
ERR, INFO = "<3>", "<6>"
DONE, TROUBLE = 0, 1

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


def order(entries: Sequence[Entry]) -> List[str]:
    """Return the names in the order of a round: new users, then those who have waited longest."""
    return [entry.name for entry in sorted(entries, key=lambda entry: (entry.fast, entry.name))]


def is_due(facts: Dict[str, str], interval: int, now: float) -> bool:
    """Tell whether a round over all users is due; also when the clock was set back."""
    began = int(facts.get("round_began", 0))
    return not began <= now < began + interval - 1


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


class Round:
    """One run of the command.

    :arg run_command: what runs a command for at most so many seconds
    :arg say: what writes a line for the journal
    """

    def __init__(
        self, settings: Settings, store: Store, run_command: Run = run, say: Optional[Callable[[str], Any]] = None
    ) -> None:
        self._settings = settings
        self._store = store
        self._run = run_command
        self._say = say or _print
        self._outages = 0
        # When it was told last what is known, and how long that took, in seconds.
        self._told = (0.0, 0.0)
        self._count: Dict[str, int] = {}

    def everything(self) -> int:
        """Sync those for whom somebody asks, and everybody where that is due; return the exit status."""
        self._store.clear_slots()
        began = time.time()
        waiting: List[str] = []
        listed = True
        in_full = is_due(self._store.facts(), self._settings.interval, began)
        if in_full:
            self._store.note(round_began=int(began), round_ended=0)
            listed = self._align()
            waiting = order(list(self._store.entries().values()))
        outage = self._sync(waiting)
        self._tell()
        if in_full:
            self._store.note(round_ended=int(time.time()))
        if outage:
            self._store.note(round_problem=outage)
        total = sum(self._count.values())
        if total:
            parts = ["%d %s" % (self._count[kind], kind) for kind in sorted(self._count)]
            self._say("%s%d users in %d s: %s" % (INFO, total, time.time() - began, ", ".join(parts)))
        return TROUBLE if outage or not listed else DONE

    def _align(self) -> bool:
        """Take the users from the userdb; without them go on with those who are known."""
        status, out, err = self._run(self._settings.doveadm + ["user", "*"], LISTING_SECONDS)
        names = [name for name in out.split("\n") if name]
        if status or not names:
            problem = (err.strip().splitlines() or ["doveadm user '*' prints nothing"])[-1]
            self._say("%sthe userdb does not list its users: %s" % (ERR, problem))
            self._store.note(listing_problem=problem)
            return False
        self._store.align(names)
        self._store.note(listing_problem="")
        return True

    def _sync(self, waiting: List[str]) -> Optional[str]:
        """Sync these, and whoever is asked for meanwhile, first; return what keeps everyone from being synced."""
        running: Dict["concurrent.futures.Future[Ended]", Tuple[int, Job]] = {}
        busy: Set[str] = set()
        seen: Set[str] = set()
        waiting = list(reversed(waiting))
        with concurrent.futures.ThreadPoolExecutor(self._settings.width) as pool:
            while True:
                held = os.path.exists(self._settings.hold_file)
                asked = [] if held or self._outages >= OUTAGES else self._store.requested()
                queue = [name for dummy, name in asked if name not in busy]
                while len(running) < self._settings.width and not held and self._outages < OUTAGES:
                    name = queue.pop(0) if queue else _next(waiting, seen)
                    if name is None:
                        break
                    slot = min(set(range(self._settings.width)).difference(slot for slot, dummy in running.values()))
                    job = self._job(name)
                    job = job._replace(asked=self._store.begin(slot, name, job.full))
                    busy.add(name)
                    seen.add(name)
                    running[pool.submit(self._ended, job)] = (slot, job)
                if not running:
                    break
                self._tell(seldom=True)
                finished = concurrent.futures.wait(running, LOOK, concurrent.futures.FIRST_COMPLETED)[0]
                for future in finished:
                    slot, job = running.pop(future)
                    busy.discard(job.name)
                    self._take_down(slot, job, future.result())
        if self._outages < OUTAGES:
            return None
        problem = self._last.problem
        rest = set(waiting).difference(seen).union(name for dummy, name in self._store.requested())
        self._store.fail_all(rest, problem, self._last.status)
        self._count["not tried"] = len(rest)
        self._say("%sthe peer cannot be synced with, the next round tries again: %s" % (ERR, problem))
        return problem

    def _tell(self, seldom: bool = False) -> None:
        """Write what is known for those who watch this host, in numbers.

        :arg seldom: not if that was a few seconds ago, and so that it takes but a share of the time
        """
        began = time.time()
        last, cost = self._told
        if seldom and last <= began < last + max(TELLING_PAUSE, TELLING_SHARE * cost):
            return
        settings, store = self._settings, self._store
        rows = statuses_of(store.entries().values(), store.facts(), True, settings.interval, began)
        reading = reading_of(rows, store.slots(), os.path.exists(settings.hold_file), began)
        write_whole(settings.reading, json.dumps(reading))
        self._told = (began, time.time() - began)

    def _job(self, name: str) -> Job:
        now = int(time.time())
        entry = self._store.entries([name]).get(name)
        old = entry is None or not entry.full <= now < entry.full + self._settings.full_sync_interval
        state = "" if old else self._store.state(name)
        settings = self._settings
        argv, full = command(settings.doveadm, name, settings.destination, settings.lock_patience, state)
        return Job(name, full, argv, now)

    def _ended(self, job: Job) -> Ended:
        """Run a sync, again where mail has changed meanwhile; in a thread of its own."""
        try:
            for _repeat in range(REPEATS):
                end = ended(*self._run(job.argv, self._settings.patience))
                if end.kind != "again":
                    break
        except OSError as error:
            return Ended("failed", 0, "%s: %s" % (job.argv[0], error), "")
        if end.kind == "missing":
            status = self._run(self._settings.doveadm + ["user", "-u", job.name], LISTING_SECONDS)[0]
            if status == NO_SUCH_USER:
                return end._replace(kind="gone")
        return end

    def _take_down(self, slot: int, job: Job, end: Ended) -> None:
        if end.kind == "synced" and not self._count.get(end.kind):
            # The way is free, before anybody can see that this user is well.
            self._store.note(round_problem="")
        # After any doubt everything is compared, so only a success leaves a state.
        state = end.state if end.kind == "synced" else ""
        self._store.end(slot, job.name, job.asked, changes(job, end, int(time.time())), state)
        if end.kind == "gone":
            self._store.forget([job.name])
        self._outages = self._outages + 1 if end.kind == "outage" else 0
        self._last = end
        kind = "failed" if end.kind in ("outage", "again") else end.kind
        self._count[kind] = self._count.get(kind, 0) + 1
        if kind != "synced":
            words = {"missing": "the peer does not have this user", "gone": "this host does not have this user"}
            self._say("%s%s: %s" % (ERR, job.name, words.get(kind) or "sync failed: " + end.problem))


def _next(waiting: List[str], seen: Set[str]) -> Optional[str]:
    """Take the next one from the end of the list whose sync has not begun meanwhile."""
    while waiting:
        name = waiting.pop()
        if name not in seen:
            return name
    return None


def _print(line: str) -> None:
    sys.stdout.write(line.encode("utf-8", "surrogateescape").decode("utf-8", "replace") + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Sync all users with the peer where that is due.")
    parser.add_argument("--config", default=path_of(None), help="the file that the role replication writes")
    options = parser.parse_args(arguments)
    try:
        settings = read_timer_settings(options.config)
        if os.path.exists(settings.hold_file):
            _print(INFO + "on hold, as %s exists" % settings.hold_file)
            return DONE
        with open(settings.lock, "w") as lock:
            # Another run may just be ending.
            fcntl.flock(lock, fcntl.LOCK_EX)
            store = opened(settings.database)
            try:
                return Round(settings, store).everything()
            finally:
                store.close()
    except (OSError, ValueError, sqlite3.Error) as error:
        _print("%s%s: %s" % (ERR, type(error).__name__, error))
        return TROUBLE


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
        _print("%s%s: %s; it begins anew" % (ERR, path, error))
        os.rename(path, path + ".damaged")
        return Store(path)
