# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of each user's syncs, where no replicator keeps it: a SQLite database. PRIVATE to this collection.

The run that syncs and the modules have it open at the same time.
"""

import os
import sqlite3
import time
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

# How long one waits for another's transaction, in seconds.
BUSY = 30.0
# To be raised with each change of the tables.
VERSION = 1
TABLES = {
    "users": """CREATE TABLE users (
        name BLOB PRIMARY KEY,
        priority INTEGER NOT NULL DEFAULT 0,
        asked INTEGER NOT NULL DEFAULT 0,
        fast INTEGER NOT NULL DEFAULT 0,
        full INTEGER NOT NULL DEFAULT 0,
        success INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        status INTEGER NOT NULL DEFAULT 0,
        problem TEXT NOT NULL DEFAULT '',
        missing INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID""",
    # Apart, as a state can be longer than all the rest of a user.
    "states": "CREATE TABLE states (name BLOB PRIMARY KEY, state TEXT NOT NULL)",
    "slots": "CREATE TABLE slots (slot INTEGER PRIMARY KEY, name BLOB NOT NULL, full INTEGER NOT NULL)",
    "facts": "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
}
# So that a look for requests costs nothing, however many users there are.
WANTED = "CREATE INDEX wanted ON users (priority) WHERE priority > 0"
COLUMNS = "name, priority, fast, full, success, failed, status, problem, missing"


class Entry(NamedTuple):
    """What is known of a user. Times are Unix seconds, 0 for never.

    :arg priority: an index of ``protocol.PRIORITIES``; above 0 somebody asks for a sync
    :arg fast: start of the last sync
    :arg full: start of the last full one
    :arg success: end of the last one that succeeded
    :arg failed: whether the last one failed
    :arg status: exit status of the last one
    :arg problem: what Dovecot said of a failure
    :arg missing: whether the user exists here and not at the peer
    """

    name: str
    priority: int
    fast: int
    full: int
    success: int
    failed: bool
    status: int
    problem: str
    missing: bool


class Store:
    """The database; it is made where there is none. Raises sqlite3.Error and OSError.

    :arg path: of the file
    """

    def __init__(self, path: str) -> None:
        mask = os.umask(0o027)
        try:
            self._database = sqlite3.connect(path, timeout=BUSY)
            # Nothing waits for the disk at each sync. What a power cut takes along is compared again.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            if not self._is_of_this_release():
                with self._database:
                    # Another process may do the same now.
                    self._database.execute("BEGIN EXCLUSIVE")
                    if not self._is_of_this_release():
                        self._make_tables()
        finally:
            os.umask(mask)

    def _is_of_this_release(self) -> bool:
        return bool(self._database.execute("PRAGMA user_version").fetchone()[0] == VERSION)

    def _make_tables(self) -> None:
        """Make the tables, in place of those of another release; then everyone is compared in full again."""
        for table in TABLES:
            self._database.execute("DROP TABLE IF EXISTS %s" % table)
            self._database.execute(TABLES[table])
        self._database.execute(WANTED)
        self._database.execute("PRAGMA user_version = %d" % VERSION)

    def close(self) -> None:
        self._database.close()

    def entries(self, names: Optional[Iterable[str]] = None) -> Dict[str, Entry]:
        """Return what is known of these users, or of all, by name."""
        select = "SELECT %s FROM users" % COLUMNS
        if names is None:
            rows: Iterable[Tuple[Any, ...]] = self._database.execute(select)
        else:
            found = [self._database.execute(select + " WHERE name = ?", (key(name),)).fetchone() for name in names]
            rows = [row for row in found if row]
        return {entry.name: entry for entry in map(_entry, rows)}

    def state(self, name: str) -> str:
        """Return the state that the last sync of a user has left, empty without one."""
        row = self._database.execute("SELECT state FROM states WHERE name = ?", (key(name),)).fetchone()
        return row[0] if row else ""

    def requested(self) -> List[Tuple[int, str]]:
        """Return pairs of priority and name of those for whom somebody asks, the highest priority first."""
        rows = self._database.execute(
            "SELECT priority, name FROM users WHERE priority > 0 ORDER BY priority DESC, fast"
        )
        return [(priority, text(name)) for priority, name in rows]

    def request(self, names: Iterable[str], priority: int, durable: bool = False) -> None:
        """Ask for a sync of each; a name that is not there is added.

        :arg durable: whether it is on the disk afterwards, and outlives a power cut
        """
        # Of a user who was removed and has come back meanwhile, too, the request is another one.
        now = int(time.time() * 1000000)
        rows = [(priority, now, key(name)) for name in names]
        if durable:
            self._database.execute("PRAGMA synchronous = FULL")
        try:
            with self._database:
                self._add([row[2:] for row in rows])
                self._database.executemany(
                    "UPDATE users SET priority = max(priority, ?), asked = ?, missing = 0 WHERE name = ?", rows
                )
        finally:
            if durable:
                self._database.execute("PRAGMA synchronous = NORMAL")

    def add(self, names: Iterable[str]) -> None:
        """Have these users, too."""
        with self._database:
            self._add([(key(name),) for name in names])

    def _add(self, rows: Sequence[Tuple[bytes]]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO users (name) VALUES (?)", rows)

    def start_over(self, names: Optional[Iterable[str]] = None) -> None:
        """Have the next sync of these users, or of all, compare everything."""
        where, rows = ("", [()]) if names is None else (" WHERE name = ?", [(key(name),) for name in names])
        with self._database:
            self._database.executemany("UPDATE users SET full = 0" + where, rows)
            self._database.executemany("DELETE FROM states" + where, rows)

    def forget(self, names: Iterable[str]) -> None:
        """Remove users; a name that is not there is no error."""
        with self._database:
            self._forget([(key(name),) for name in names])

    def _forget(self, rows: Sequence[Tuple[bytes]]) -> None:
        for table in ("users", "states"):
            self._database.executemany("DELETE FROM %s WHERE name = ?" % table, rows)

    def align(self, names: Iterable[str]) -> None:
        """Have just these users, and those for whom somebody asks."""
        wanted = {key(name) for name in names}
        there = {row[0]: row[1] for row in self._database.execute("SELECT name, priority FROM users")}
        gone = [(name,) for name in there if name not in wanted and not there[name]]
        with self._database:
            self._add([(name,) for name in wanted])
            self._forget(gone)

    def begin(self, slot: int, name: str, full: bool) -> int:
        """Note that a sync has begun; return when the user was last asked for.

        The request stays, as it is not answered where this process is killed.
        """
        with self._database:
            self._database.execute("INSERT OR REPLACE INTO slots VALUES (?, ?, ?)", (slot, key(name), full))
            row = self._database.execute("SELECT asked FROM users WHERE name = ?", (key(name),)).fetchone()
        return int(row[0]) if row else 0

    def end(self, slot: int, name: str, asked: int, values: Dict[str, Any], state: str = "") -> None:
        """Note how a sync has ended; nothing of a user who was removed meanwhile.

        :arg asked: what ``begin`` has returned: whoever has asked since then wants another sync
        :arg values: columns of the table
        :arg state: for the next sync, empty for none: then that is a full one
        """
        columns = sorted(values)
        assignments = ", ".join("%s = ?" % column for column in columns)
        with self._database:
            self._database.execute("DELETE FROM slots WHERE slot = ?", (slot,))
            self._database.execute(
                "UPDATE users SET %s WHERE name = ?" % assignments, [values[column] for column in columns] + [key(name)]
            )
            self._database.execute("UPDATE users SET priority = 0 WHERE name = ? AND asked = ?", (key(name), asked))
            self._database.execute("DELETE FROM states WHERE name = ?", (key(name),))
            if state:
                self._database.execute(
                    "INSERT INTO states SELECT name, ? FROM users WHERE name = ?", (state, key(name))
                )

    def fail_all(self, names: Iterable[str], problem: str, status: int) -> None:
        """Note that syncs of these could not even be tried."""
        with self._database:
            self._database.executemany(
                "UPDATE users SET failed = 1, problem = ?, status = ?, priority = 0 WHERE name = ?",
                [(problem, status, key(name)) for name in names],
            )

    def slots(self) -> Dict[int, Tuple[str, bool]]:
        """Return the syncs under way: slot to name and whether it is a full one."""
        rows = self._database.execute("SELECT slot, name, full FROM slots")
        return {slot: (text(name), bool(full)) for slot, name, full in rows}

    def clear_slots(self) -> None:
        """Forget the syncs that a run which was killed had under way."""
        with self._database:
            self._database.execute("DELETE FROM slots")

    def facts(self) -> Dict[str, str]:
        """Return what is known of the rounds."""
        return dict(self._database.execute("SELECT name, value FROM facts"))

    def note(self, **facts: object) -> None:
        """Write down facts of a round."""
        with self._database:
            rows = [(name, str(facts[name])) for name in facts]
            self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)


def key(name: str) -> bytes:
    """Return a name as it is kept: its bytes, whatever they are."""
    return name.encode("utf-8", "surrogateescape")


def text(name: bytes) -> str:
    """Undo :func:`key`."""
    return name.decode("utf-8", "surrogateescape")


def _entry(row: Tuple[Any, ...]) -> Entry:
    name, priority, fast, full, success, failed, status, problem, missing = row
    return Entry(text(name), priority, fast, full, success, bool(failed), status, problem, bool(missing))
