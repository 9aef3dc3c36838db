# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real full syncs. PRIVATE to this collection.

``replicate -f`` starts none in any release of Dovecot. A user who is new on the list has never been fully synced, so
removing the user from the list and queueing again does. In between the user is on no list. A guard puts the user back
when this process is killed or loses its connection.
"""

import shlex
import time
from typing import Callable, Iterable, List

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import guard as guards
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.audience import controller_gone
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient

PAUSE = 0.1


class MayBeOff(DovecotError):
    """The connection ended after the removal of a user, and the guard could not put the user back."""

    def __init__(self, name: str, error: DovecotError) -> None:
        super().__init__(
            "Asking for a full sync of %s" % name,
            "%s: %s" % (error.tried, error.answer),
            "the replicator went away after the user was taken off its list, did not come back in %d seconds, and so "
            "%s may be off the list" % (guards.PERSISTENCE, name),
            "start Dovecot, look at its log, and put the user back on the host of the replicator: "
            "`doveadm replicator replicate -p high -- %s`" % shlex.quote(name),
        )


class FullSyncs:
    """Requests for full syncs, under a guard.

    :arg client: to ask
    :arg connect: function that returns another client, for the guard
    :arg priority: ``low`` or ``high``
    """

    def __init__(self, client: ReplicatorClient, connect: Callable[[], ReplicatorClient], priority: str) -> None:
        self._client = client
        self._connect = connect
        self._priority = priority

    def request(self, names: List[str], seconds: float) -> List[str]:
        """Queue full syncs as ``request_full_syncs`` does, and return what that returns.

        Raise MayBeOff, which names the user and the way back, when one was removed and could not be put back.
        """
        guard = guards.Guard(self._put_back, guards.PERSISTENCE)
        try:
            late = request_full_syncs(self._client, names, self._priority, seconds, guard)
        except DovecotError as error:
            if guard.close():
                raise
            raise MayBeOff(guard.watched, error) from error
        except BaseException:
            guard.close()
            raise
        guard.close()
        return late

    def _put_back(self, name: str) -> None:
        self._connect().replicate([name], self._priority)


def request_full_syncs(
    client: ReplicatorClient,
    names: Iterable[str],
    priority: str,
    seconds: float,
    guard: guards.Guard,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> List[str]:
    """Queue a full sync of each name, those with a sync under way as soon as that has ended.

    :arg seconds: how long to wait for those
    :arg guard: watches each name while it is off the list
    :return: the names for which this took too long, sorted
    """
    deadline = monotonic() + seconds
    waiting = list(names)
    while waiting:
        busy = []
        for name in waiting:
            if any(slot.username == name for slot in client.dsyncs()):
                busy.append(name)
                continue
            guard.watch(name)
            client.start_over(name, priority)
            guard.release()
        waiting = busy
        if waiting:
            if monotonic() >= deadline or controller_gone():
                break
            sleep(PAUSE)
    return sorted(waiting)
