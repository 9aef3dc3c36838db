# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is said of names that the userdb does not have."""

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import TaskFailed
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import userdb_policy
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import Account, Accounts


class OnlyAlice(Accounts):
    def _look_up(self, names):
        assert "" not in names, "Dovecot would hang up"
        return {name: Account(username="alice") if name.lower() == "alice" else None for name in names}


@pytest.mark.parametrize("listed, said", [((), False), (["alice"], False), (["old"], True)])
def test_a_listed_name_without_an_account_was_deleted_or_renamed(listed, said):
    with pytest.raises(TaskFailed) as failed:
        userdb_policy.known_to_userdb(OnlyAlice(), ["Alice", "old"], listed)
    assert ("still old: deleted or renamed" in failed.value.message) == said
    assert failed.value.result["unknown_users"] == ["old"]


def test_an_empty_name_is_nobody():
    assert OnlyAlice().find(["", "ALICE"]) == {"ALICE": "alice"}
