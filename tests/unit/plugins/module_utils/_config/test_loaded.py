# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a running Dovecot has read what was changed."""

import os
import subprocess

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.loaded import MARK, SOCKET, Loaded


def start(base_dir):
    """Make the socket anew, as Dovecot does when it reads its configuration."""
    (base_dir / "new").touch()
    (base_dir / "new").rename(base_dir / SOCKET)


def test_behind_until_dovecot_makes_its_sockets_anew(tmp_path):
    loaded = Loaded(str(tmp_path))
    start(tmp_path)
    assert not loaded.needs_reload()
    loaded.mark()
    assert loaded.needs_reload() and Loaded(str(tmp_path)).needs_reload()
    start(tmp_path)
    assert not loaded.needs_reload()


def test_the_clock_does_not_matter(tmp_path):
    start(tmp_path)
    os.utime(tmp_path / SOCKET, (4000000000, 4000000000))
    loaded = Loaded(str(tmp_path))
    loaded.mark()
    assert loaded.needs_reload()
    start(tmp_path)
    assert not loaded.needs_reload()


def test_a_change_that_was_put_back(tmp_path):
    start(tmp_path)
    loaded = Loaded(str(tmp_path))
    loaded.mark()
    loaded.unmark()
    loaded.unmark()
    assert not loaded.needs_reload() and not (tmp_path / MARK).exists()


def test_without_dovecot(tmp_path):
    for base_dir in (tmp_path, tmp_path / "nosuch"):
        loaded = Loaded(str(base_dir))
        loaded.mark()
        assert not loaded.needs_reload() and not loaded.is_running()


@pytest.mark.parametrize("text, running", [(None, False), ("", False), ("x", False), ("0", None), ("here", True)])
def test_is_it_running(tmp_path, text, running):
    if text == "0":
        ended = subprocess.Popen(["true"])
        ended.wait()
        text, running = str(ended.pid), False
    if text is not None:
        (tmp_path / "master.pid").write_text(str(os.getpid()) if text == "here" else text)
    assert Loaded(str(tmp_path)).is_running() is running
