# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a failure is told. PRIVATE to this collection."""


class DovecotError(Exception):
    """A failure that a person can act on.

    :arg tried: what was being done, as the start of a sentence: ``Connecting to /run/dovecot/replicator-doveadm``
    :arg answer: what Dovecot or the system answered to it, literally
    :arg cause: the likely cause, where there is one to name
    :arg cure: the next step
    """

    def __init__(self, tried, answer, cause=None, cure=None):
        super(DovecotError, self).__init__(tried, answer, cause, cure)
        self.tried = tried
        self.answer = answer
        self.cause = cause
        self.cure = cure

    def __str__(self):
        text = "%s failed: %s." % (self.tried, str(self.answer).rstrip("."))
        if self.cause:
            text += " Likely cause: %s." % self.cause.rstrip(".")
        if self.cure:
            text += " Next step: %s." % self.cure.rstrip(".")
        return text


class Interrupted(DovecotError):
    """The connection has ended, or nobody takes one: Dovecot is being restarted, or is down."""


class Silence(DovecotError):
    """No answer came in the time that was given for it."""
