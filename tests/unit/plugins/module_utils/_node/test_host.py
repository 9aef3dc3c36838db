# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who of a host's users lets the peer sync."""

import os

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node.host import authorized_keys

COMMAND = "/etc/dovecot/replication-dsync-server"
LINE = f'restrict,command="{COMMAND}" ssh-ed25519 AAAA mailops.dovecot_replication'


@pytest.mark.parametrize(
    "text, authorizes",
    [
        (LINE, True),
        (f"ssh-rsa BBBB somebody\n{LINE}\n", True),
        ("", False),
        ("ssh-rsa BBBB somebody\n", False),
        # Of a second Dovecot on the host, and of somebody who has taken the line for another purpose.
        (LINE.replace("/etc/dovecot", "/srv/second"), False),
        (LINE + "-by-hand", False),
    ],
)
def test_files_that_let_the_peer_in(tmp_path, text, authorizes):
    homes = {name: tmp_path / name for name in ("root", "vmail", "nobody")}
    for name in ("root", "vmail"):
        (homes[name] / ".ssh").mkdir(parents=True)
        (homes[name] / ".ssh" / "authorized_keys").write_text(text)
    (homes["nobody"] / ".ssh").mkdir(parents=True)
    os.mkfifo(homes["nobody"] / ".ssh" / "authorized_keys")
    passwd = tmp_path / "passwd"
    entries = [f"{name}:x:0:0::{home}:/bin/sh" for name, home in homes.items()]
    passwd.write_text("\n".join([*entries, f"again:x:0:0::{homes['root']}:/bin/sh", "+@others", ""]))
    expected = [str(homes[name] / ".ssh/authorized_keys") for name in ("root", "vmail")] if authorizes else []
    assert authorized_keys(COMMAND, "no-such-user", str(passwd)) == expected
