# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until syncs have ended, and messages about the outcome. PRIVATE to this collection."""

import time
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import enumerated
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    UserStatus,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import Account

FIRST_PAUSE = 0.01
LONGEST_PAUSE = 2.0
# Pauses grow by this factor, and are never shorter than so many times what the poll itself took.
GROWTH = 1.5
POLL_SHARE = 10
# How long the replicator may be gone before that is an error. systemd gives Dovecot 90 seconds to stop.
RESTART_SECONDS = 120
# When Dovecot tries a failed user again; src/replication/replicator/replicator.c.
RETRY_SECONDS = 300

FAILED = (
    "The sync failed for %s: Dovecot's log has the reason (most often the peer is down, refuses the password or lacks "
    "the account; a panic of doveadm there means noreplicate set on the peer only); where it has none, run "
    "`doveadm -v sync -u USER -d -N` on this host."
)
# With a timer, which keeps what Dovecot has said.
BECAUSE = "The sync failed for %%s: %s. `verify` names the cause."
DROPPED = {
    "unknown": "The replicator dropped %s from its list: the userdb of this host does not have the account. "
    "If it was deleted or renamed on both hosts, nothing is to be done; else create it.",
    "noreplicate": "The replicator dropped %s from its list: the userdb field noreplicate is set; remove it on both "
    "hosts (on Dovecot 2.4: from replication_excluded_users), or leave these users out.",
    "unknown_on_peer": "The replicator dropped %s from its list: the account exists here, so it is missing on the "
    "peer; create it there.",
    None: "The replicator dropped %s from its list: the account is missing on the peer or here, or noreplicate is set; "
    "create it on both hosts.",
}
PENDING = (
    "Still not synced when the time to wait was over: %s; `doveadm replicator dsync-status` shows what runs. A peer "
    "that does not answer, or to which no network leads, keeps a sync waiting, and with replication_max_conns = 0 none "
    "ever starts; `verify` logs in at the peer and names the cause."
)

# The lists of an Outcome.
KINDS = ("synced", "failed", "dropped", "pending")

MAY_BE_LOST = (
    "The replicator was restarted during the wait. When it is killed, it forgets what was queued in the last 15 "
    "minutes; replicator_replicate queues users again."
)
NEVER_QUIET = (
    "Still being synced when the time to wait was over: %s; `doveadm replicator dsync-status` shows what runs. A peer "
    "that does not answer, or to which no network leads, keeps a sync running for ten minutes."
)


class Outcome(NamedTuple):
    """Sorted lists of names, and the seconds waited."""

    synced: List[str]
    failed: List[str]
    dropped: List[str]
    pending: List[str]
    elapsed: float

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> "Outcome":
        """Return the Outcome in a module's result."""
        return cls(elapsed=result["elapsed"], **{kind: result[kind + "_users"] for kind in KINDS})

    def as_result(self) -> Dict[str, Any]:
        """Return the keys of a module's result that describe it."""
        result: Dict[str, Any] = {kind + "_users": getattr(self, kind) for kind in KINDS}
        return dict(result, elapsed=self.elapsed)

    def after(self, earlier: "Outcome") -> "Outcome":
        """Return this Outcome of the names that an earlier wait had left, merged with that of the earlier wait."""
        again = {name for kind in KINDS for name in getattr(self, kind)}
        lists = {
            kind: sorted(set(getattr(earlier, kind)).difference(again).union(getattr(self, kind))) for kind in KINDS
        }
        return Outcome(elapsed=self.elapsed, **lists)

    def counts(self) -> str:
        """Return how far it is, for a person: ``12 of 230 users synced, 1 failed, 217 left``."""
        total = sum(len(getattr(self, kind)) for kind in KINDS)
        rest = [(self.failed, "failed"), (self.dropped, "dropped"), (self.pending, "left")]
        parts = ["%d of %d users synced" % (len(self.synced), total)]
        return ", ".join(parts + ["%d %s" % (len(names), what) for names, what in rest if names])


class Until(NamedTuple):
    """The condition to wait for.

    :arg state: ``ended``: the sync of each user that has just been queued has ended, well or not. ``idle``: each user
        has been seen neither queued, nor due, nor being synced. ``synced``: that, and its last sync has not failed;
        Dovecot tries a failed one again by itself
    :arg max_failed: give up when more users than this have failed; up to that many are accepted. None does neither
    """

    state: str
    max_failed: Optional[int] = None

    def over(self, outcome: Outcome) -> bool:
        """Tell whether there is nothing left to wait for."""
        failed = len(outcome.failed)
        if self.max_failed is not None and failed > self.max_failed:
            return True
        return not outcome.pending and not (self.state == "synced" and failed > (self.max_failed or 0))

    def rest(self, outcome: Outcome) -> List[str]:
        """Return the names to go on waiting for."""
        if self.over(outcome):
            return []
        return sorted(outcome.pending + ([] if self.state == "ended" else outcome.failed))

    def verdict(
        self,
        outcome: Outcome,
        reasons: Mapping[str, str],
        trouble: Optional[str] = None,
        failures: Optional[Mapping[str, str]] = None,
    ) -> Optional[str]:
        """Return what is wrong with an outcome and what to do about it, None when nothing is wrong.

        :arg reasons: of the dropped names, as ``reason_for_dropping`` gives them; some may be missing
        :arg trouble: why the replicator could not be read at the end
        :arg failures: why users have failed, where the side that syncs knows it
        """
        accepted = self.max_failed or 0
        if self.state == "idle" and self.max_failed is None:
            accepted = len(outcome.failed)
        failed = outcome.failed if len(outcome.failed) > accepted else []
        known = "; ".join(sorted({text for name, text in (failures or {}).items() if name in failed}))
        because = BECAUSE % known.replace("%", "%%") if known else FAILED
        problems = [(failed, because), (outcome.pending, PENDING)]
        if self.state != "idle":
            problems += [
                ([name for name in outcome.dropped if reasons.get(name) == reason], text)
                for reason, text in DROPPED.items()
            ]
        texts = [text % enumerated(names) for names, text in problems if names]
        if texts and trouble:
            texts.append("The replicator could not be asked any more. %s" % trouble)
        return "%s. %s" % (outcome.counts(), " ".join(texts)) if texts else None


ENDED = Until("ended")


class Line:
    """The interface of what a Watch watches."""

    @property
    def client(self) -> ReplicatorClient:
        """The replicator, connected when it is needed first."""
        raise NotImplementedError()

    def hang_up(self) -> None:
        """Close the connection; the next use connects again."""
        raise NotImplementedError()

    def socket_identity(self) -> object:
        """Return what changes when Dovecot is reloaded or restarted, None where nothing tells."""
        raise NotImplementedError()


class Watch:
    """A replicator that may be restarted while it is waited for. A restart breaks off running syncs.

    :arg line: a Line, such as Connections
    :arg ask_again: function of the names still waited for, called after a restart; None when nothing was asked for
    :arg met: whether the replicator has answered before; a replicator that never did is an error, not a restart
    :arg state: that of an earlier Watch of the same wait
    """

    def __init__(
        self,
        line: Line,
        ask_again: Optional[Callable[[List[str]], object]] = None,
        met: bool = False,
        state: Optional[Dict[str, Any]] = None,
    ) -> None:
        self._line = line
        self._ask_again = ask_again
        # ``trouble``: why the replicator could not be read the last time; ``gone``: for how many seconds now.
        # ``slots``: a replicator never has fewer of them than before, unless it is another one.
        self.state: Dict[str, Any] = state or dict(
            met=met, seen=line.socket_identity(), slots=0, trouble=None, gone=0, restarts=0
        )
        self._looked: Optional[float] = None

    def users(self, mask: str) -> Dict[str, UserStatus]:
        """As ``ReplicatorClient.users``."""
        return self._line.client.users(mask)

    def problems(self, names: List[str]) -> Dict[str, str]:
        """As ``ReplicatorClient.problems``; none where the replicator cannot be asked."""
        if not names or self.state["trouble"]:
            return {}
        try:
            return self._line.client.problems(names)
        except DovecotError:
            return {}

    def dsyncs(self) -> List[DsyncSlot]:
        """As ``ReplicatorClient.dsyncs``; raise Interrupted when this is another replicator than before."""
        slots = self._line.client.dsyncs()
        before, self.state["slots"] = self.state["slots"], len(slots)
        if len(slots) < before:
            raise Interrupted("Waiting", "the replicator was restarted")
        return slots

    def look(
        self, names: List[str], read: "Callable[[Watch, List[str]], Dict[str, Any]]", now: float
    ) -> Dict[str, Any]:
        """Return what ``read`` makes of this replicator and the names, an empty dict while the replicator is restarted.

        :arg names: those still waited for
        :arg now: as ``time.monotonic``
        """
        state = self.state
        try:
            again = bool(state["trouble"])
            if again:
                self._line.hang_up()
                state.update(seen=self._line.socket_identity(), slots=0)
                if self._ask_again:
                    self._ask_again(names)
            answer = read(self, names)
            if self._line.socket_identity() != state["seen"]:
                raise Interrupted("Waiting", "Dovecot was reloaded or restarted")
            state.update(met=True, trouble=None, gone=0, restarts=state["restarts"] + again)
            return answer
        except Interrupted as error:
            state["trouble"] = str(error)
            state["gone"] += 0 if self._looked is None else now - self._looked
            if not state["met"] or state["gone"] > RESTART_SECONDS:
                raise
            return {}
        finally:
            self._looked = now


def wait_for_syncs(
    watch: Watch,
    names: Iterable[str],
    seconds: float,
    mask: Optional[str] = None,
    until: Until = ENDED,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Outcome:
    """Wait for each of the names, at most so many seconds, and return the Outcome.

    A name that is neither queued nor in a dsync slot is idle; the replicator moves it from one to the other in one
    step, so reading STATUS before STATUS-DSYNC cannot miss the start. Only a STATUS read after that tells the result,
    as the first may still show the one of the sync before. A name that is no longer on the list was dropped: unknown
    to the userdb here or at the peer, or marked ``noreplicate``.

    When the replicator is restarted meanwhile, what was read of it is forgotten, and the waiting goes on.

    :arg watch: a Watch
    :arg mask: a mask that matches all names, to read no more of the list than needed
    """
    began = monotonic()
    deadline = began + seconds
    ordered = sorted(set(names))
    found: Dict[str, str] = {}
    pause = FIRST_PAUSE
    scope = mask or (ordered[0] if len(ordered) == 1 else "*")
    outcome = _outcome(ordered, found, 0)
    rest = until.rest(outcome)

    def poll(client: Watch, names: List[str]) -> Dict[str, str]:
        return _poll(client, names, scope, until.state != "ended")

    while rest:
        polled = monotonic()
        found.update(watch.look(rest, poll, polled))
        now = monotonic()
        outcome = _outcome(ordered, found, now - began)
        rest = until.rest(outcome)
        if not rest or now >= deadline:
            break
        pause = _longer(pause, now - polled)
        sleep(min(pause, deadline - now))
    return outcome


def wait_for_quiet(
    watch: Watch,
    matches: Callable[[str], bool],
    seconds: float,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Tuple[List[str], float]:
    """Wait until no sync is running, whatever is queued; return the sorted names still being synced, and the seconds.

    :arg matches: function of a name, whether it counts
    """
    began = monotonic()
    pause = FIRST_PAUSE
    while True:
        polled = monotonic()
        slots = watch.look([], _slots, polled)
        running = sorted(filter(matches, slots))
        now = monotonic()
        if not running or now - began >= seconds:
            return running, round(now - began, 3)
        pause = _longer(pause, now - polled)
        sleep(min(pause, began + seconds - now))


def _slots(client: Watch, _names: List[str]) -> Dict[str, DsyncSlot]:
    return {slot.username: slot for slot in client.dsyncs() if slot.username}


def _longer(pause: float, poll: float) -> float:
    """Return the pause after one, given what the poll itself took; all in seconds."""
    return min(max(pause * GROWTH, POLL_SHARE * poll), LONGEST_PAUSE)


def reason_for_dropping(account: Optional[Account]) -> str:
    """Return why the replicator has dropped a user: a key of DROPPED.

    :arg account: the Account in the userdb of this host, None where it has none
    """
    if account is None:
        return "unknown"
    return "noreplicate" if account.noreplicate else "unknown_on_peer"


def _outcome(names: List[str], found: Mapping[str, str], elapsed: float) -> Outcome:
    lists: Dict[str, List[str]] = {kind: [] for kind in KINDS}
    for name in names:
        lists[found.get(name, "pending")].append(name)
    return Outcome(elapsed=round(elapsed, 3), **lists)


def _poll(client: Watch, names: List[str], mask: str, due_is_queued: bool) -> Dict[str, str]:
    """Return where each name stands now, a dict."""
    before = client.users(mask)
    idle = {name for name in names if name not in before or not is_queued(before[name], due_is_queued)}
    if idle:
        idle.difference_update(slot.username for slot in client.dsyncs() if slot.username)
    after: Mapping[str, UserStatus] = client.users(mask) if idle else {}
    return {name: _result(after.get(name)) if name in idle else "pending" for name in names}


def is_queued(status: UserStatus, or_due: bool = True) -> bool:
    """Tell whether a user waits for a sync: asked for with a priority or, unless left out, due without one.

    New users, regular full syncs and failed users have no priority when their time has come. Before Dovecot 2.3.20,
    which does not tell when that is, only what can be known counts as due: a user never fully synced, and a failed one
    after five minutes.
    """
    if status.priority != "none":
        return True
    if not or_due:
        return False
    if status.next_sync is not None:
        return status.next_sync == 0
    return status.full_sync.age is None or (status.failed and (status.fast_sync.age or 0) >= RETRY_SECONDS)


def _result(status: Optional[UserStatus]) -> str:
    if status is None:
        return "dropped"
    return "failed" if status.failed else "synced"
