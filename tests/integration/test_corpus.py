# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shapes of configurations from before replication to after it: see corpus.py. The table in docs/ is what this saw.

MAILOPS_UPDATE_DOCS=1 writes it in a run of all shapes.
"""

import base64
import itertools
import json
import os
import threading
import uuid
from pathlib import Path

import pytest
from conftest import HOSTS, MX1, MX2
from corpus import ACCOUNTS, PASSWD, PASSWD_FILE, SHAPES
from runs import ARRIVAL_SECONDS, ROOT, arrived, changes, deliver, failures, findings_of, handed_over, succeeded

ALICE, BOB = ACCOUNTS
KEPT = "/srv/dovecot-of-the-lab.tar"
# The first one may be a link.
LISTED = "/etc/dovecot/ /srv/corpus"
# Dovecot, and what shapes run beside it.
STOP = "systemctl stop dovecot lab-ldap lab-other 2>/dev/null || true"
TABLE = ROOT / "docs" / "layouts.md"
STEPS = ("check", "verified", "second run", "mail crosses", "as before")
HEAD = """# Configurations it was tried on

Each row is all of `/etc/dovecot` on both hosts of a pair with Dovecot 2.3.19.1, with accounts, as installers, panels
and guides make them. `tests/integration/corpus.py` has their texts. Each went through all steps:

1. Before: look-up, log-in, delivery by `dovecot-lda` and LMTP, IMAP APPEND.
2. Where `setup` refuses the configuration, the message names the variable in this column. The run goes on with it.
3. `setup --check`, then `setup` with `replication_verify` and a probe, then `setup` again, which changes nothing.
4. Mail both ways by `dovecot-lda`, LMTP and IMAP.
5. `decommission`. Files, modes, owners and `doveconf -n` are as before.

The test run writes this table.

| configuration | refused first | check | verified | second run | mail crosses | as before |
|---|---|---|---|---|---|---|
"""
on_bookworm = pytest.mark.parametrize("pair", ["bookworm"], indirect=True)
# The steps that the shapes of this run came through.
ROWS = {}
# Sends a mail by LMTP and saves one by IMAP, as clients do.
CLIENTS = """
import imaplib, json, smtplib, sys
user, token = sys.argv[1:]
mail = "From: postmaster@example.org\\r\\nSubject: {}\\r\\n\\r\\nHello.\\r\\n"
with smtplib.LMTP("/run/dovecot/lmtp") as lmtp:
    lmtp.sendmail("postmaster@example.org", [user], mail.format(token + "-lmtp"))
imap = imaplib.IMAP4("127.0.0.1")
imap.login(user, "lab")
imap.append("INBOX", "", None, mail.format(token + "-imap").encode())
imap.logout()
"""


@pytest.fixture(scope="module")
def hosts(pair, request):
    """A pair whose own configuration comes back at the end."""
    here = [item.callspec.params.get("name") for item in request.session.items if item.path == Path(__file__)]
    shapes = [SHAPES[name] for name in here if name]
    packages = " ".join(sorted({package for shape in shapes for package in shape.packages}))
    for host in HOSTS:
        if packages:
            # Before the configuration that they expect is gone.
            pair.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -qqy {packages} >/dev/null", host)
        pair.shell(f"mv /srv/vmail /srv/vmail.lab && tar -C / -cf {KEPT} etc/dovecot", host)
        pair.lab.execute(host, "tee", "/srv/clients.py", stdin=CLIENTS)
    yield pair
    for host in HOSTS:
        for shape in shapes:
            pair.shell(shape.clean, host, check=False)
        pair.shell(
            f"{STOP}; rm -rf /etc/dovecot /srv/vmail /var/lib/dovecot/replicator.db && "
            f"tar -C / -xf {KEPT} && mv /srv/vmail.lab /srv/vmail && systemctl start dovecot",
            host,
        )
    pair.tidy()


def put(pair, shape):
    """Have both hosts in the shape, with accounts and without mail."""
    for host in HOSTS:
        peer = MX2 if host == MX1 else MX1
        lines = [f"{STOP}; rm -rf /etc/dovecot /srv/vmail /srv/corpus /var/lib/dovecot/replicator.db"]
        lines += ["install -d -o vmail -g vmail /srv/vmail", "mkdir -p /srv/corpus /etc/dovecot"]
        files = {f"/etc/dovecot/{name}": text for name, text in shape.files.items()}
        for path, text in {**files, PASSWD_FILE: PASSWD}.items():
            text = text % {"peer": peer} if shape.by_host else text
            encoded = base64.b64encode(text.encode("utf-8", "surrogateescape")).decode()
            lines.append(f"mkdir -p {os.path.dirname(path)}; echo {encoded} | base64 -d > {path}")
        lines += [shape.accounts if host == MX1 else ""]
        pair.lab.execute(host, "sh", "-eu", stdin="\n".join(lines))
    # Both hosts have the same accounts and keys.
    data = pair.shell("tar -C /srv -c corpus | base64").stdout
    pair.lab.execute(MX2, "sh", "-c", "base64 -d | tar -C /srv -x", stdin=data)
    for host in HOSTS:
        pair.lab.execute(host, "sh", "-eu", stdin=shape.prepare + "systemctl start dovecot")
        if shape.by_host and host == MX1:
            # The two replicate from their start on, and each would make an INBOX of its own.
            for user in ACCOUNTS:
                deliver(pair.lab, MX1, user, "the-first")
    if shape.by_host:
        for user in ACCOUNTS:
            assert arrived(pair.lab, MX2, user, "the-first", seconds=60) is not None


def state(pair):
    """What there is of files and settings, for each host."""
    look = (
        f"find {LISTED} -type f -printf '%p %m %u %g ' -exec md5sum {{}} + -o -printf '%p %m %u %g %l\\n' | sort; "
        "doveconf -n"
    )
    return {host: pair.shell(look, host).stdout for host in HOSTS}


def crosses(pair, user, here, there):
    """Whether mail that one host gets by lda, LMTP and IMAP reaches the other; returns those that do not."""
    token = f"t-{uuid.uuid4().hex}"
    deliver(pair.lab, here, user, f"{token}-lda")
    pair.lab.execute(here, "python3", "/srv/clients.py", user, token)
    find = f"doveadm fetch -u {user} hdr.subject header Subject {token} | sort"
    subjects = ""
    for _attempt in range(ARRIVAL_SECONDS * 4):
        subjects = pair.shell(f"sleep 0.25; {find}", there, check=False).stdout
        if subjects.count(token) == 3:
            break
    return [way for way in ("lda", "lmtp", "imap") if f"{token}-{way}" not in subjects]


def run_of(pair, shape, row):
    """Take a shape all the way; note in ``row``, by STEPS, how far it came."""
    put(pair, shape)
    deliver(pair.lab, MX1, ALICE, "before-replication")
    pair.lab.execute(MX1, "python3", "/srv/clients.py", ALICE, "before-replication")
    before = state(pair)
    variables = dict(replication_verify=True, replication_probe_user=ALICE, **shape.variables)
    if shape.refused:
        refused = pair.play("setup", **variables)
        messages = failures(refused)
        assert messages and all(shape.refused in message for message in messages), messages
        for name, value in shape.cure.items():
            assert all(f"{name}: {json.dumps(value)}" in message.replace("'", '"') for message in messages), messages
        assert state(pair) == before
        row["refused first"] = ", ".join(shape.cure)
        if not shape.cure:
            return
        variables.update(shape.cure)
    foreseen = changes(succeeded(pair.play("setup", "--check", **variables)))
    assert state(pair) == before
    row["check"] = True
    done = pair.play("setup", **{**variables, "replication_verify": not shape.adopted})
    # Dovecot 2.3.19 makes an INBOX on each host when both sync a user for the first time at once; adopt is the cure.
    found = [] if shape.adopted else findings_of(done)
    both_made_it = any(finding["id"] == "mailbox_made_twice" for finding in found)
    assert both_made_it or succeeded(done) and handed_over(done)["ok"]
    assert set(foreseen) <= set(changes(done))
    if shape.adopted or both_made_it:
        succeeded(pair.play("adopt"))
        done = succeeded(pair.play("verify", **variables))
    found = findings_of(done)
    assert {finding["id"] for finding in found} == set(shape.warned), found
    row["verified"] = True
    assert changes(succeeded(pair.play("setup", **{**variables, "replication_verify": False}))) == []
    row["second run"] = True
    assert crosses(pair, ALICE, MX1, MX2) == [] and crosses(pair, BOB, MX2, MX1) == []
    row["mail crosses"] = True
    back = {"replication_give_back": True} if shape.cure.get("replication_take_over") else {}
    gone = succeeded(pair.play("decommission", **{**variables, **back}))
    assert handed_over(gone)["ok"]
    assert state(pair) == before
    row["as before"] = True


@on_bookworm
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if SHAPES[name].often else [pytest.mark.torture]) for name in SHAPES]
)
def test_a_shape(hosts, name):
    ROWS[name] = {}
    run_of(hosts, SHAPES[name], ROWS[name])


@on_bookworm
@pytest.mark.torture
def test_a_pair_made_by_hand_is_taken_over_under_mail(hosts):
    """Mail comes to both hosts from before it to after it. Each is on both in the end, once."""
    pair, stop = hosts, threading.Event()
    put(pair, SHAPES["by_hand"])
    sent = {ALICE: [], BOB: []}

    def deliver_on(host, user):
        while not stop.wait(0.2):
            token = f"t-{uuid.uuid4().hex}"
            deliver(pair.lab, host, user, token)
            sent[user].append(token)

    ends = [(MX1, MX2, ALICE), (MX2, MX1, BOB)]
    for here, there, user in ends:
        deliver(pair.lab, here, user, "t-first")
        sent[user].append("t-first")
        assert arrived(pair.lab, there, user, "t-first") is not None
    threads = [threading.Thread(target=deliver_on, args=[here, user]) for here, dummy, user in ends]
    for thread in threads:
        thread.start()
    try:
        options = dict(replication_take_over=True, replication_probe_user=ALICE, replication_verify_patience=180)
        succeeded(pair.play("setup", replication_verify=True, **options))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for host in HOSTS:
        assert not pair.agent(host).module("replicator_replicate", user_mask="*", wait=True, wait_timeout=300)["failed"]
    print({user: len(tokens) for user, tokens in sent.items()})
    for host, user in itertools.product(HOSTS, sent):
        there = pair.shell(
            f"grep -rhs '^Subject: t-' /srv/vmail/{user}/Maildir/cur /srv/vmail/{user}/Maildir/new", host
        )
        assert sorted(line.split()[1] for line in there.stdout.splitlines()) == sorted(sent[user])


@on_bookworm
def test_the_documentation_shows_the_shapes(pair):
    """All rows stand there in the order of SHAPES; those of this run are what it saw."""
    shown = TABLE.read_text().replace(HEAD, "").splitlines() if TABLE.exists() else []
    kept = dict(zip(SHAPES, shown)) if len(shown) == len(SHAPES) else {}
    lines = {name: line_of(SHAPES[name], ROWS[name]) if name in ROWS else kept.get(name, "") for name in SHAPES}
    text = HEAD + "".join(line + "\n" for line in lines.values())
    if os.environ.get("MAILOPS_UPDATE_DOCS"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


def line_of(shape, row):
    if shape.refused and not shape.cure:
        return f"| {shape.kind} | {'always' if 'refused first' in row else '**no**'} |{' |' * len(STEPS)}"
    refused = f"`{row['refused first']}`" if row.get("refused first") else ""
    cells = ["yes" if row.get(step) else "**no**" for step in STEPS]
    return f"| {' | '.join([shape.kind, refused, *cells])} |"
