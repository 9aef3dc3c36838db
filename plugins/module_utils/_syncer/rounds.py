# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rounds of syncs of all users with the peer, for a Dovecot that has no replicator. PRIVATE to this collection.

A timer of systemd starts each. It first syncs those for whom somebody asks, and goes on as long as somebody does. When
a round over all users is due, it syncs them all, those first who have waited longest.
"""

import concurrent.futures
import json
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Set, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.writing import write_whole
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.engine import (
    ERR,
    INFO,
    Engine,
    Job,
    Run,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import Settings
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry, Store
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.syncing import OUTAGES, Ended, run
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.view import reading_of, statuses_of

# How often a run looks for new requests while it has syncs under way, in seconds.
LOOK = 0.2
TELLING_PAUSE, TELLING_SHARE = 5.0, 20
DONE, TROUBLE = 0, 1


def order(entries: Sequence[Entry]) -> List[str]:
    """Return the names in the order of a round: new users, then those who have waited longest."""
    return [entry.name for entry in sorted(entries, key=lambda entry: (entry.fast, entry.name))]


def is_due(facts: Dict[str, str], interval: int, now: float) -> bool:
    """Tell whether a round over all users is due; also when the clock was set back."""
    began = int(facts.get("round_began", 0))
    return not began <= now < began + interval - 1


class Round(Engine):
    """One run of the timer; as Engine."""

    def __init__(
        self, settings: Settings, store: Store, run_command: Run = run, say: Optional[Callable[[str], Any]] = None
    ) -> None:
        super().__init__(settings, store, run_command, say)
        self._outages = 0
        # When it was told last what is known, and how long that took, in seconds.
        self._told = (0.0, 0.0)
        self._count: Dict[str, int] = {}

    def everything(self) -> int:
        """Sync those for whom somebody asks, and everybody where that is due; return the exit status."""
        self._store.clear_slots()
        began = time.time()
        waiting: List[str] = []
        names: Optional[List[str]] = []
        in_full = is_due(self._store.facts(), self._settings.interval, began)
        if in_full:
            self._store.note(round_began=int(began), round_ended=0)
            # Without the userdb it goes on with those who are known.
            names, problem = self.listing()
            self.note_listing(problem)
            if names is not None:
                self._store.align(names)
            waiting = order(list(self._store.entries().values()))
        outage = self._sync_all(waiting)
        self._tell()
        if in_full:
            self._store.note(round_ended=int(time.time()))
        if outage:
            self._store.note(round_problem=outage)
        total = sum(self._count.values())
        if total:
            parts = ["%d %s" % (self._count[kind], kind) for kind in sorted(self._count)]
            self._say("%s%d users in %d s: %s" % (INFO, total, time.time() - began, ", ".join(parts)))
        return TROUBLE if outage or names is None else DONE

    def _sync_all(self, waiting: List[str]) -> Optional[str]:
        """Sync these, and whoever is asked for meanwhile, first; return what keeps everyone from being synced."""
        running: Dict["concurrent.futures.Future[Ended]", Tuple[int, Job]] = {}
        busy: Set[str] = set()
        seen: Set[str] = set()
        waiting = list(reversed(waiting))
        with concurrent.futures.ThreadPoolExecutor(self._settings.width) as pool:
            while True:
                held = self.is_held()
                asked = [] if held or self._outages >= OUTAGES else self._store.requested()
                queue = [name for dummy, name in asked if name not in busy]
                while len(running) < self._settings.width and not held and self._outages < OUTAGES:
                    name = queue.pop(0) if queue else _next(waiting, seen)
                    if name is None:
                        break
                    slot = min(set(range(self._settings.width)).difference(slot for slot, dummy in running.values()))
                    job = self.job(name, slot, self._store.entries([name]).get(name))
                    busy.add(name)
                    seen.add(name)
                    running[pool.submit(self.sync, job)] = (slot, job)
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
        write_whole(settings.reading, json.dumps(reading_of(rows, store.slots(), self.is_held(), began)))
        self._told = (began, time.time() - began)

    def _take_down(self, slot: int, job: Job, end: Ended) -> None:
        if end.kind == "synced" and not self._count.get(end.kind):
            # The way is free, before anybody can see that this user is well.
            self._store.note(round_problem="")
        self.take_down(slot, job, end)
        self._outages = self._outages + 1 if end.kind == "outage" else 0
        self._last = end
        kind = "failed" if end.kind in ("outage", "again") else end.kind
        self._count[kind] = self._count.get(kind, 0) + 1


def _next(waiting: List[str], seen: Set[str]) -> Optional[str]:
    """Take the next one from the end of the list whose sync has not begun meanwhile."""
    while waiting:
        name = waiting.pop()
        if name not in seen:
            return name
    return None
