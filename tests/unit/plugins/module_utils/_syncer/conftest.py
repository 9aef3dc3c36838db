# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._syncer.settings import Settings


@pytest.fixture
def settings(tmp_path):
    return Settings(
        destination="tcp:mx2",
        doveadm=["doveadm"],
        interval=60,
        width=3,
        patience=600,
        lock_patience=30,
        full_sync_interval=86400,
        hold_file=str(tmp_path / "hold"),
        state_dir=str(tmp_path),
        kept_out=[],
        engine="timer",
        sweep_interval=3600,
        run_dir=str(tmp_path),
    )
