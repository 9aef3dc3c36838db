# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a failure is reported. PRIVATE to this collection."""

from typing import Any, Optional


class DovecotError(Exception):
    """A failure that a person can act on.

    :arg tried: the attempt, as the start of a sentence: ``Connecting to /run/dovecot/replicator-doveadm``
    :arg answer: what Dovecot or the system answered to it, literally; an exception or a text
    :arg cause: the likely cause, None where there is none to name
    :arg cure: the next step, None where there is none
    """

    def __init__(self, tried: str, answer: object, cause: Optional[str] = None, cure: Optional[str] = None) -> None:
        super().__init__(tried, answer, cause, cure)
        self.tried = tried
        self.answer = answer
        self.cause = cause
        self.cure = cure

    def __str__(self) -> str:
        text = "%s failed: %s." % (self.tried, str(self.answer).rstrip("."))
        if self.cause:
            text += " Likely cause: %s." % self.cause.rstrip(".")
        if self.cure:
            text += " Next step: %s." % self.cure.rstrip(".")
        return text


class Interrupted(DovecotError):
    """The connection has ended, or nobody accepts one: Dovecot is being restarted, or is down."""


class ListingFailed(DovecotError):
    """The userdb has answered that it does not list its users."""


class Silence(DovecotError):
    """No answer came in the time that was given for it."""


class TaskFailed(Exception):
    """The end of a task that has more to return than a message.

    :arg message: what failed and what to do about it
    :arg result: what the module returns besides
    """

    def __init__(self, message: str, **result: Any) -> None:
        super().__init__(message)
        self.message = message
        self.result = result
