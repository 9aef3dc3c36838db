# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pattern of hosts is given back, and one that matches none is an error."""

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.mailops.dovecot_replication.plugins.lookup.replication_hosts import LookupModule

GROUPS = {"all": ["mx1", "mx2"], "ungrouped": [], "mx": ["mx1", "mx2"]}


def pattern(*terms):
    return LookupModule(loader=DataLoader()).run(list(terms), variables={"groups": GROUPS})


@pytest.mark.parametrize(
    "terms, given",
    [
        (["mx"], "mx"),
        (["mx1", "mx2"], "mx1,mx2"),
        ([["mx1", "mx2"]], "mx1,mx2"),
        (["mx:!mx1"], "mx:!mx1"),
        (["mx*"], "mx*"),
        (["nosuch", "mx1"], "nosuch,mx1"),
        # Without an inventory, too.
        (["dovecot_replication"], "dovecot_replication"),
    ],
)
def test_a_pattern(terms, given):
    assert pattern(*terms) == [given]


@pytest.mark.parametrize("terms", [["nosuch"], ["mx1:!mx1"], ["mx1:&mx2"]])
def test_a_pattern_that_matches_none(terms):
    with pytest.raises(AnsibleError, match="No host of the inventory matches "):
        pattern(*terms)
