# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dovecot's commands and versions."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import (
    find_command,
    parse_version,
)


@pytest.mark.parametrize(
    "text, version",
    [
        ("2.3.19.1 (9b53102964)", (2, 3, 19, 1)),
        ("2.3.21 (47349e2482)", (2, 3, 21)),
        ("2.4.1-4 (7d8c0e5759)", (2, 4, 1, 4)),
        ("2.3.rc1", (2, 3)),
        ("", None),
        ("unknown", None),
        # A digit to str.isdigit, and no number to int.
        ("2.3.²", (2, 3)),
    ],
)
def test_versions(text, version):
    assert parse_version(text) == version


@pytest.fixture
def executable(tmp_path):
    def make(name):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_a_directory_is_no_command(tmp_path, executable, monkeypatch):
    (tmp_path / "first" / "doveadm-of-test").mkdir(parents=True)
    path = executable("second/doveadm-of-test")
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{tmp_path}/second")
    assert find_command("doveadm-of-test") == path
    assert find_command("nosuch-of-test") is None


def test_the_directory_of_another_command_comes_first(tmp_path, executable, monkeypatch):
    on_path, beside = executable("path/doveconf"), executable("beside/doveconf")
    monkeypatch.setenv("PATH", f"{tmp_path}/path")
    assert find_command("doveconf") == on_path
    assert find_command("doveconf", executable("beside/doveadm")) == beside
