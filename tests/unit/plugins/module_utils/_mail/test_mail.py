# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way to the mail has every method, or says that it has not."""

import inspect

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.doveadm_mail import DoveadmMail
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.http_mail import HttpMail
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import Mail

METHODS = [name for name, dummy in inspect.getmembers(Mail, inspect.isfunction)]


@pytest.mark.parametrize("kind", [DoveadmMail, HttpMail])
def test_no_public_method_is_beside_the_interface(kind):
    public = [name for name, dummy in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")]
    assert set(public) == {name for name in METHODS if not name.startswith("_")}
    for name in public:
        assert inspect.signature(getattr(kind, name)) == inspect.signature(getattr(Mail, name))


@pytest.mark.parametrize(
    "method, arguments",
    [("mailboxes", [["a"]]), ("search", ["a", []]), ("save", ["a", ""]), ("expunge", ["a", []])],
)
def test_what_needs_doveadm_says_so(method, arguments):
    with pytest.raises(DovecotError, match="run the task on the host itself"):
        getattr(HttpMail(None), method)(*arguments)
