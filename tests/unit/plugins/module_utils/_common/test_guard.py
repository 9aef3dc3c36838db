# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be put right even when the process is killed."""

import os
import signal
import time

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import guard as guard_module
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.guard import Guard, last_told


@pytest.mark.parametrize(
    "chunks, name",
    [
        ([], ""),
        ([b"0:"], ""),
        ([b"3:bob"], "bob"),
        ([b"3:bob0:"], ""),
        ([b"3:bo", b"b0:5:", b"alice"], "alice"),
        ([b"4:a:\n1"], "a:\n1"),
    ],
)
def test_what_the_guard_was_told_last(chunks, name):
    assert last_told(chunks) == name


@pytest.mark.parametrize("watched, rescued", [("a\nb", "a\nb"), (None, None)])
def test_the_guard_acts_when_its_parent_is_killed(tmp_path, watched, rescued):
    note = tmp_path / "rescued"
    child = os.fork()
    if child == 0:
        guard = Guard(note.write_text)
        guard.watch("before")
        guard.release()
        if watched:
            guard.watch(watched)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + (10 if rescued else 0.5)
    # A file is there before what is written into it.
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (note.read_text() if note.exists() else None) == rescued


def test_the_guard_tries_again(tmp_path, monkeypatch):
    monkeypatch.setattr(guard_module.time, "sleep", lambda seconds: None)
    attempts = tmp_path / "attempts"

    def rescue(name):
        attempts.write_text((attempts.read_text() if attempts.exists() else "") + "x")
        if len(attempts.read_text()) < 3:
            raise OSError("not yet")

    guard = Guard(rescue)
    guard.watch("a")
    assert guard.close() is True
    assert attempts.read_text() == "xxx"


@pytest.mark.parametrize("watched, done", [("a", False), (None, True)])
def test_the_guard_that_gives_up_says_so(watched, done):
    def rescue(name):
        raise OSError("never")

    guard = Guard(rescue, persistence=0.1)
    if watched:
        guard.watch(watched)
    assert guard.close() is done
