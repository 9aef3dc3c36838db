# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the service syncs next. Pure: what happens goes in, and whose sync is to begin comes out. PRIVATE.

Times are seconds of a clock that nobody sets back; those in an ``Entry`` are Unix seconds.
"""

import collections
import heapq
from typing import Deque, Dict, Iterable, List, NamedTuple, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Entry
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.syncing import OUTAGES

# The lower the earlier. Requests are as a replicator names them; see PRIORITIES in protocol.py.
SYNC, HIGH, LOW, CHANGED, AGAIN, SWEEP, IDLE = range(7)
# Of these there may be as many as there are users. Together they leave one slot for mail.
BULK = (LOW, AGAIN, SWEEP)
# Seconds before a sync that has failed is tried again, the first time, the second, and so on.
RETRIES = (5, 15, 60, 300)
# The same while the peer is taken for gone, when one user is tried for all.
PROBES = (5, 15, 30)
# The sweeps that follow each other are spread over this part of the interval.
SPREAD = 0.5
LONG = 3600.0


class User:
    """What is known of a user beside what ``Entry`` has, which is kept up to date in ``entry``.

    :ivar rank: where the user waits, IDLE for nowhere
    :ivar tries: syncs that have failed since the last success
    :ivar due: when a failed sync is tried again
    :ivar outage: whether it failed because of what concerns everyone
    """

    __slots__ = ("due", "entry", "outage", "rank", "tries")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.rank = IDLE
        self.tries = 0
        self.due = 0.0
        self.outage = False


class Start(NamedTuple):
    """A sync that is to begin.

    :arg slot: the lowest number that is free
    :arg rank: where the user was waiting
    """

    slot: int
    name: str
    rank: int


class Scheduler:
    """Who waits, and who is being synced.

    :arg width: how many syncs run at once
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.users: Dict[str, User] = {}
        self.running: Dict[str, Start] = {}
        # Why nobody can be synced now, empty where the peer is there.
        self.outage = ""
        self._queues: List[Deque[str]] = [collections.deque() for dummy in range(IDLE)]
        self._again: List[Tuple[float, str]] = []
        self._failed_by_outage: List[str] = []
        self._outages = 0
        self._probes = 0
        self._probe_due = 0.0
        # When the next user of a sweep may begin, and the seconds between two.
        self._sweep_due = 0.0
        self._pace = 0.0

    # What happens

    def know(self, entries: Iterable[Entry], now: float) -> None:
        """Begin with what was known before: who was asked for or has failed comes first."""
        for entry in entries:
            user = self.users[entry.name] = User(entry)
            if entry.priority:
                self._wait(entry.name, user, _rank(entry.priority))
            elif entry.failed:
                self._fail(user, now, 0.0)

    def align(self, names: Iterable[str]) -> List[str]:
        """Have just these users, and those who wait because of mail or a request; return who is new."""
        wanted = set(names)
        for name in [name for name in self.users if name not in wanted]:
            if self.users[name].rank > CHANGED:
                self.remove(name)
        return sorted(name for name in wanted if name not in self.users)

    def add(self, names: Iterable[str]) -> None:
        """Have these users, too, who have never been synced."""
        for name in names:
            if name not in self.users:
                self.users[name] = User(Entry(name, 0, 0, 0, 0, False, 0, "", False))
                self._wait(name, self.users[name], AGAIN)

    def remove(self, name: str) -> None:
        """Forget a user; a sync under way goes on."""
        self.users.pop(name, None)

    def request(self, name: str, priority: int, now: float) -> None:
        """Somebody asks for a sync of a user who is known, with an index of PRIORITIES."""
        user = self.users[name]
        user.entry = user.entry._replace(priority=max(priority, user.entry.priority), missing=False)
        self._wait(name, user, _rank(priority))
        # Who asks wants to know now, and not when the peer is tried the next time.
        self._probe_due = now

    def changed(self, name: str) -> None:
        """Mail of a user who is known has changed."""
        user = self.users[name]
        # On disk it is a request, and none that anybody waits for.
        user.entry = user.entry._replace(priority=max(1, user.entry.priority), missing=False)
        self._wait(name, user, CHANGED)

    def sweep(self, now: float, interval: float = 0.0) -> None:
        """Have everybody synced, those first who have waited longest; spread over a part of the interval."""
        idle = [(user.entry.fast, name) for name, user in self.users.items() if user.rank == IDLE]
        for _fast, name in sorted(idle):
            self._wait(name, self.users[name], SWEEP)
        self._pace = SPREAD * interval / max(1, len(self.users))
        self._sweep_due = now

    def ended(self, name: str, kind: str, problem: str, now: float) -> None:
        """A sync has ended; see ``Ended``. What it changes in the entry is the caller's."""
        self.running.pop(name, None)
        user = self.users.get(name)
        self._outages = self._outages + 1 if kind == "outage" else 0
        if user is not None:
            user.outage = kind == "outage"
            if user.outage:
                self._failed_by_outage.append(name)
        if kind != "outage":
            self._is_back()
        if user is not None:
            if kind in ("failed", "again", "outage"):
                self._fail(user, now, float(RETRIES[min(user.tries, len(RETRIES) - 1)]))
                user.tries += 1
            else:
                user.tries = 0
        if kind == "gone":
            self.remove(name)
        if self._outages >= OUTAGES:
            self.outage = problem
            self._probe_due = now + PROBES[min(self._probes, len(PROBES) - 1)]
            self._probes += 1

    def waiting_for_peer(self) -> List[str]:
        """While the peer is gone: those who wait for a sync because of mail or a request. They have failed now."""
        if not self.outage:
            return []
        names = [name for name, user in self.users.items() if user.rank <= CHANGED and name not in self.running]
        self._failed_by_outage += names
        for name in names:
            user = self.users[name]
            user.outage = True
            user.entry = user.entry._replace(priority=0, failed=True, problem=self.outage)
            # The next probe, or the peer's return.
            self._fail(user, self._probe_due, 0.0)
        return names

    def _is_back(self) -> None:
        """The peer answers, so whoever has failed because it did not is tried at once."""
        self.outage, self._probes = "", 0
        # Not at each sync that ends well: there may be as many as there are users.
        again, self._failed_by_outage = self._failed_by_outage, []
        for name in again:
            user = self.users.get(name)
            if user is not None and user.outage and user.rank == IDLE:
                self._wait(name, user, AGAIN)

    # What is to be done

    def next(self, now: float) -> Optional[Start]:
        """Return the sync that is to begin now and count it as running, or None. To be called until it is None."""
        while self._again and self._again[0][0] <= now:
            due, name = heapq.heappop(self._again)
            user = self.users.get(name)
            if user is not None and user.due == due and user.rank > AGAIN and user.entry.failed:
                self._wait(name, user, AGAIN)
        if self.outage:
            return self._begin(range(IDLE)) if not self.running and now >= self._probe_due else None
        if len(self.running) >= self.width:
            return None
        has_room = self._has_room_for_bulk()
        start = self._begin([rank for rank in range(SWEEP) if has_room or rank not in BULK])
        if start is None and has_room and now >= self._sweep_due:
            start = self._begin([SWEEP])
            if start is not None:
                self._sweep_due = now + self._pace
        return start

    def pause(self, now: float) -> float:
        """Return after how many seconds ``next`` may have an answer, where nothing happens before."""
        moments = [now + LONG]
        if self.outage:
            return LONG if self.running else max(0.0, self._probe_due - now)
        if self._again:
            moments.append(self._again[0][0])
        if self._queues[SWEEP] and self._has_room_for_bulk():
            moments.append(self._sweep_due)
        return max(0.0, min(moments) - now)

    def _has_room_for_bulk(self) -> bool:
        bulk = sum(start.rank in BULK for start in self.running.values())
        return len(self.running) < self.width and bulk < max(1, self.width - 1)

    def _begin(self, ranks: Iterable[int]) -> Optional[Start]:
        for rank in ranks:
            queue = self._queues[rank]
            for _turn in range(len(queue)):
                name = queue.popleft()
                user = self.users.get(name)
                if user is None or user.rank != rank:
                    continue
                if name in self.running:
                    # Another one follows when this one has ended.
                    queue.append(name)
                    continue
                user.rank = IDLE
                user.entry = user.entry._replace(priority=0)
                slots = {start.slot for start in self.running.values()}
                start = Start(min(set(range(len(slots) + 1)).difference(slots)), name, rank)
                self.running[name] = start
                return start
        return None

    def _wait(self, name: str, user: User, rank: int) -> None:
        if rank < user.rank:
            user.rank = rank
            self._queues[rank].append(name)

    def _fail(self, user: User, now: float, pause: float) -> None:
        if user.rank > AGAIN or self.outage:
            user.rank = IDLE
        user.due = now + pause
        heapq.heappush(self._again, (user.due, user.entry.name))


def _rank(priority: int) -> int:
    """Return where one waits who is asked for with an index of PRIORITIES."""
    return 3 - priority
