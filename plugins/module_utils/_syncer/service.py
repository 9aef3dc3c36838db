# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service that syncs a user once mail has changed, without a replicator. PRIVATE to this collection.

Dovecot tells it of changes over a socket, it tells the modules what a replicator would, and ``Scheduler`` decides. Of
each sync of its own it hears as well: so it knows that it is told, and Dovecot finds out when it was away. While it is
started again, systemd keeps the connection, and what Dovecot tells meanwhile waits there.
"""

import asyncio
import concurrent.futures
import json
import os
import pwd
import signal
import socket
import sqlite3
import time
from typing import Any, Callable, Coroutine, Dict, List, Optional, Set

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import is_mask
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.writing import write_whole
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.snapshot import snapshot_of
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    PRIORITIES,
    DsyncSlot,
    decode_line,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer import replies
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.engine import (
    ERR,
    INFO,
    Engine,
    Job,
    T,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.manager import (
    drop_connection,
    keep_connection,
    kept_connections,
    tell_systemd,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.scheduler import Scheduler, Start
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import (
    Settings,
    read_settings,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.store import Store
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.syncing import Ended, run

# How often it looks at what nobody tells it, in seconds.
TICK = 1.0
# How often numbers are told, and that takes at most this part of the time.
TELLING_SECONDS, TELLING_SHARE = 15.0, 0.005
# After so many syncs of its own of which it has not heard it takes itself for deaf, and sweeps as often as a timer.
UNHEARD = 20
# The event of a sync of its own; see the template of the configuration.
OF_A_SYNC = "mail_user_session_finished"
# How long syncs may go on once it is to stop, in seconds; and how often trouble with the disk is told.
PARTING, REMINDER = 20.0, 60.0
CHUNK = 65536
BACKLOG = 100
LONGEST_EVENT = 1024 * 1024
TYPES = {True: "full", False: "incremental"}
BOOT = "/proc/sys/kernel/random/boot_id"


def users_in(lines: List[bytes]) -> Set[str]:
    """Return the users in events of changes, and an empty name for those of syncs; raise ValueError for no event."""
    found = set()
    for line in lines:
        if line.strip():
            event = json.loads(line.decode("utf-8", "surrogateescape"))
            fields = event.get("fields", {})
            found.add("" if event.get("event") == OF_A_SYNC else fields.get("user", ""))
    return found


class Service(Engine):
    """As Engine.

    :arg config: path of the settings, which are read again on SIGHUP
    """

    def __init__(self, settings: Settings, store: Store, config: str, **options: Any) -> None:
        super().__init__(settings, store, options.pop("run_command", run), **options)
        self._config = config
        self._scheduler = Scheduler(settings.width)
        self._jobs: Dict[str, Job] = {}
        self._tasks: Set["asyncio.Future[Any]"] = set()
        # What goes on with those who have connected.
        self._talks: Set["asyncio.Future[Any]"] = set()
        self._over = False
        self._sweep_due = self._telling_due = self._reminded = 0.0
        # Its own syncs since it has heard of one.
        self._unheard = 0
        self._is_deaf = False
        self._pool = concurrent.futures.ThreadPoolExecutor(settings.width)
        self._aside = concurrent.futures.ThreadPoolExecutor(2)

    def serve(self) -> None:
        """Work until a signal says that it is over."""
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._read_again)
        try:
            loop.run_until_complete(self._serve())
        finally:
            loop.close()

    def _stop(self) -> None:
        self._over = True
        self._wake.set()

    def _read_again(self) -> None:
        try:
            self._heed(read_settings(self._config))
        except (OSError, ValueError) as error:
            self._say("%s%s; it goes on as before" % (ERR, error))
            return
        self._scheduler.width = self._settings.width
        # Those that are under way go on.
        self._pool.shutdown(wait=False)
        self._pool = concurrent.futures.ThreadPoolExecutor(self._settings.width)
        self._sweep_due = 0.0
        self._wake.set()

    async def _serve(self) -> None:
        self._wake = asyncio.Event()
        self._begin()
        for connection in kept_connections():
            self._task(self._hear(connection), self._talks)
        events = self._bound(self._settings.events, self._exporter())
        self._task(self._welcome(events), self._talks)
        server = await asyncio.start_unix_server(self._meet, sock=self._bound(self._settings.socket), limit=CHUNK)
        tell_systemd("READY=1\nSTATUS=Syncing with %s" % self._settings.destination)
        while not self._over:
            self._look()
            self._start()
            pause = min(TICK, self._scheduler.pause(time.monotonic())) if not self.is_held() else TICK
            try:
                await asyncio.wait_for(self._wake.wait(), max(0.01, pause))
            except asyncio.TimeoutError:
                pass
            self._wake.clear()
        tell_systemd("STOPPING=1")
        server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks or self._tasks:
            await asyncio.wait(self._talks | self._tasks, timeout=PARTING)
        events.close()
        for path in (self._settings.events, self._settings.socket):
            # Later releases of Python do that themselves.
            if os.path.exists(path):
                os.unlink(path)
        self._kept(lambda: self._store.note(clean=1), None)

    def _begin(self) -> None:
        with open(BOOT) as stream:
            boot = stream.read().strip()
        facts = self._store.facts()
        if facts.get("clean") == "0" and facts.get("boot") != boot:
            # The power was cut: nobody knows what of the last syncs has reached the disks.
            self._say(INFO + "everybody is compared in full, as the host went down without a warning")
            self._store.start_over()
        self._kept(self._store.clear_slots, None)
        self._kept(lambda: self._store.note(clean=0, boot=boot, round_problem="", deaf=""), None)
        self._scheduler.know(self._store.entries().values(), time.monotonic())

    def _exporter(self) -> Optional[int]:
        """Return the uid of Dovecot's process that writes events, None where it is not known."""
        doveconf = [os.path.join(os.path.dirname(self._settings.doveadm[0]), "doveconf"), *self._settings.doveadm[1:]]
        try:
            return pwd.getpwnam(self._run(doveconf + ["-h", "default_internal_user"], TICK * 10)[1].strip()).pw_uid
        except (KeyError, OSError):
            return None

    def _bound(self, path: str, owner: Optional[int] = None) -> socket.socket:
        """Return a socket that listens, for root and an owner alone."""
        if os.path.exists(path):
            os.unlink(path)
        bound = socket.socket(socket.AF_UNIX)
        bound.setblocking(False)
        mask = os.umask(0o177)
        try:
            bound.bind(path)
        finally:
            os.umask(mask)
        if owner is not None:
            os.chown(path, owner, -1)
        bound.listen(BACKLOG)
        return bound

    # Syncs

    def _start(self) -> None:
        if self.is_held():
            return
        while True:
            start = self._scheduler.next(time.monotonic())
            if start is None:
                return
            job = self._jobs[start.name] = self.job(start.name, start.slot, self._scheduler.users[start.name].entry)
            user = self._scheduler.users[start.name]
            user.entry = user.entry._replace(fast=job.began)
            self._task(self._synced(start, job))

    async def _synced(self, start: Start, job: Job) -> None:
        end: Ended = await self._loop.run_in_executor(self._pool, self.sync, job)
        values = self.take_down(start.slot, job, end)
        del self._jobs[job.name]
        scheduler, now = self._scheduler, time.monotonic()
        user = scheduler.users.get(job.name)
        if user is not None:
            user.entry = user.entry._replace(**values)
        before = scheduler.outage
        scheduler.ended(job.name, end.kind, end.problem, now)
        failed = scheduler.waiting_for_peer()
        if failed:
            self._kept(lambda: self._store.fail_all(failed, scheduler.outage, end.status), None)
        if scheduler.outage != before:
            if not before or not scheduler.outage:
                told = "%sthe peer cannot be synced with: %s" % (ERR, scheduler.outage)
                self._say(told if scheduler.outage else INFO + "the peer is back")
            self._kept(lambda: self._store.note(round_problem=scheduler.outage), None)
        # One that has failed at once may have made no event.
        self._unheard += end.kind == "synced"
        self._wake.set()

    async def _align(self) -> bool:
        """Take the users from the userdb, and tell whether it lists them; else go on with those who are known."""
        names, problem = await self._loop.run_in_executor(self._aside, self.listing)
        self.note_listing(problem)
        if names is not None:
            new = self._scheduler.align(names)
            self._kept(lambda: self._store.align(names or []), None)
            self._scheduler.add(new)
        return names is not None

    async def _sweep(self, interval: float = 0.0) -> None:
        self._kept(lambda: self._store.note(round_began=int(time.time())), None)
        await self._align()
        self._scheduler.sweep(time.monotonic(), interval)
        # Who watches it is told of the list as soon as there is one.
        self._telling_due = 0.0
        self._wake.set()

    def _look(self) -> None:
        """Do what is due, whatever happens."""
        tell_systemd("WATCHDOG=1")
        now = time.monotonic()
        if self._unheard >= UNHEARD and not self._is_deaf:
            self._is_deaf = True
            self._sweep_due = min(self._sweep_due, now + self._settings.interval)
            self._say(ERR + "Dovecot does not tell of changes; everybody is synced as often as a timer would do it")
            self._kept(lambda: self._store.note(deaf=int(time.time())), None)
        if now >= self._sweep_due:
            interval = self._settings.interval if self._is_deaf else self._settings.sweep_interval
            # The first one is not spread: mail may be waiting.
            spread = float(interval) if self._sweep_due else 0.0
            self._sweep_due = now + interval
            self._task(self._sweep(spread))
        if now >= self._telling_due:
            try:
                self.tell()
            except OSError as error:
                self._trouble(error)
            self._telling_due = now + max(TELLING_SECONDS, (time.monotonic() - now) / TELLING_SHARE)

    # What Dovecot tells

    async def _welcome(self, bound: socket.socket) -> None:
        while True:
            connection, dummy = await self._loop.sock_accept(bound)
            keep_connection(connection)
            self._task(self._hear(connection), self._talks)

    async def _hear(self, connection: socket.socket) -> None:
        """Hear what one process of Dovecot tells, from a connection that is new or was kept."""
        connection.setblocking(False)
        # What it told to nobody before this is lost.
        self._doubt()
        rest = b""
        try:
            while True:
                data = await self._loop.sock_recv(connection, CHUNK)
                if not data:
                    break
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                self._heard(users_in(lines))
                if len(rest) > LONGEST_EVENT:
                    raise ValueError("an event of more than %d bytes" % LONGEST_EVENT)
        except ValueError as error:
            self._say("%sDovecot tells what is no event: %s" % (ERR, error))
        except OSError:
            pass
        except asyncio.CancelledError:
            # The next process goes on where this one ends, but not in the middle of an event.
            if not rest:
                raise
        drop_connection(connection)
        connection.close()
        self._doubt()

    def _heard(self, names: Set[str]) -> None:
        self._unheard = 0
        if self._is_deaf:
            self._is_deaf = False
            self._say(INFO + "Dovecot tells of changes again")
            self._kept(lambda: self._store.note(deaf=""), None)
        changed = [name for name in names if name and not self.is_kept_out(name)]
        if changed:
            # On the disk before anything else, and once for all that came together.
            self._kept(lambda: self._store.request(changed, 1, durable=True), None)
            self._scheduler.add(changed)
            for name in changed:
                self._scheduler.changed(name)
            self._wake.set()

    def _doubt(self) -> None:
        """Changes may have gone unheard."""
        self._scheduler.sweep(time.monotonic())
        self._wake.set()

    # What others ask

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._task(self._converse(reader, writer), self._talks)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(replies.GREETING)
            line = await reader.readline()
            if decode_line(line[:-1])[:3] == replies.CLIENT:
                while True:
                    line = await reader.readline()
                    answer = await self._answer(decode_line(line[:-1])) if line.endswith(b"\n") else None
                    if answer is None:
                        break
                    writer.write(answer)
                    await writer.drain()
        except (OSError, ValueError):
            # Whoever asked is gone, or asks at endless length.
            pass
        finally:
            writer.close()

    async def _answer(self, fields: List[str]) -> Optional[bytes]:
        """Return the answer to a command, None where the connection is to be closed."""
        unknown = replies.unknown_in(fields, self._scheduler)
        if unknown is not None:
            if is_mask(unknown):
                return replies.OK if await self._align() else replies.NOT_LISTED
            there = await self._loop.run_in_executor(self._aside, self.has_account, unknown)
            if not there or self.is_kept_out(unknown):
                return replies.NOT_FOUND
            self._scheduler.add([unknown])
        now, scheduler, (command, *arguments) = time.monotonic(), self._scheduler, fields
        if command == "STATUS":
            if arguments:
                return replies.status(scheduler, arguments[0], now, self._sweep_due)
            return replies.overview(scheduler, now)
        if command == "STATUS-DSYNC":
            return replies.dsyncs(scheduler.width, self._slots())
        if command == "NOTIFY" and len(arguments) >= 3:
            return replies.refusal("NOTIFY is not used")
        if command == "ADD" and len(arguments) == 1:
            self._kept(lambda: self._store.add(arguments), None)
            self._wake.set()
            return replies.OK
        if command == "REMOVE" and len(arguments) == 1:
            if arguments[0] not in scheduler.users:
                return replies.NOT_FOUND
            scheduler.remove(arguments[0])
            self._kept(lambda: self._store.forget(arguments), None)
            return replies.OK
        if command == "REPLICATE" and len(arguments) == 3:
            return self._replicate(*arguments)
        return None

    def _replicate(self, priority: str, flags: str, name: str) -> bytes:
        if priority not in PRIORITIES:
            return replies.refusal("Invalid priority")
        names = replies.wanted(self._scheduler, name)
        number = PRIORITIES.index(priority)
        if number and names:
            if replies.FULL_SYNC in flags:
                self._kept(lambda: self._store.start_over(names), None)
            self._kept(lambda: self._store.request(names, number, durable=True), None)
            for each in names:
                user = self._scheduler.users[each]
                if replies.FULL_SYNC in flags:
                    user.entry = user.entry._replace(full=0)
                self._scheduler.request(each, number, time.monotonic())
            self._wake.set()
        return b"+%d\n" % len(names)

    def _slots(self) -> Dict[int, Any]:
        return {
            start.slot: (name, TYPES[self._jobs[name].full])
            for name, start in self._scheduler.running.items()
            if name in self._jobs
        }

    # What is kept, and told

    def tell(self) -> None:
        """Write what is known for those who watch this host, in numbers."""
        now, now_at = time.monotonic(), time.time()
        slots = [DsyncSlot(name, kind) for name, kind in self._slots().values()]
        lines = replies.rows(self._scheduler.users.values(), now, self._sweep_due)
        reading = {
            "snapshot": snapshot_of(lines, slots, now_at, self.is_held())._replace(deaf=self._is_deaf)._asdict(),
            "overview": replies.counts(self._scheduler, now),
            "kinds": [slot.type for slot in slots],
            "problem": "",
        }
        write_whole(self._settings.reading, json.dumps(reading))

    def _kept(self, keep: Callable[[], T], otherwise: T) -> T:
        """As Engine. Where the disk is full it goes on: what it does not write it knows, and a start sweeps."""
        try:
            return keep()
        except sqlite3.OperationalError as error:
            self._trouble(error)
            return otherwise

    def _trouble(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._reminded + REMINDER:
            self._reminded = now
            self._say("%snothing can be written below %s: %s" % (ERR, self._settings.state_dir, error))

    def _task(self, work: "Coroutine[Any, Any, None]", among: "Optional[Set[asyncio.Future[Any]]]" = None) -> None:
        task = asyncio.ensure_future(work)
        (self._tasks if among is None else among).add(task)
        task.add_done_callback(self._ended_task)

    def _ended_task(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        self._talks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A fault of this program: systemd starts it again, and a start sweeps.
            self._say("%s%r" % (ERR, task.exception()))
            self._stop()
