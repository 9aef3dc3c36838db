# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Callbacks take results of any supported ansible-core, by the names that its next releases keep."""

from types import SimpleNamespace

from ansible_collections.mailops.dovecot_replication.plugins.callback import plan


def test_results_of_ansible_core_2_16():
    assert plan.seen(SimpleNamespace(_host=1, _task=2, _result={}, task_name="T")) == (1, 2, {})


def test_results_without_the_names_that_end_with_ansible_core_2_23():
    assert plan.seen(SimpleNamespace(host=1, task=2, result={}, task_name="T")) == (1, 2, {})
