# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service under mail and under blows: no mail is lost, whatever happens to it, to the peer or to the way between.

Each test prints how many mails were accepted, lost and doubled. MAILOPS_STORM_MINUTES: how long the storms are that
take longest, 10 if not set; MAILOPS_STORM_USERS: how many users are swept, 10,000 if not set.
"""

import collections
import os
import time

import pytest
import runs
from conftest import HOSTS, INVENTORY, MX1, MX2, Pair
from lab import Lab

pytestmark = pytest.mark.torture

SERVICE = "dovecot-replication.service"
MINUTES = float(os.environ.get("MAILOPS_STORM_MINUTES", "10"))
MANY = int(os.environ.get("MAILOPS_STORM_USERS", "10000"))
# Those who get mail.
FEW = 50
# How long both hosts may take to have the same mail after a storm.
CALM_SECONDS = 180
# Delivers mail over LMTP, as an MTA does, in bursts of random size, and prints what was accepted. A mail that is
# refused is sent again, as an MTA would do it, so it can come twice, and is told with an R.
POST = r"""
import random, smtplib, sys, time
seconds, rate, users, prefix = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
rng = random.Random(prefix)
end, number, owed, client = time.monotonic() + seconds, 0, 0.0, None
last = time.monotonic()
while time.monotonic() < end:
    now = time.monotonic()
    owed += (now - last) * rate
    last = now
    # Quiet most of the time, and then all at once.
    if owed < 1 or rng.random() < 0.8 and owed < 20 * rate:
        time.sleep(0.1)
        continue
    while owed >= 1 and time.monotonic() < end + 30:
        user, token = "u%05d@example.org" % rng.randrange(users), "%s-%06d" % (prefix, number)
        mail = "From: a@example.org\r\nSubject: %s\r\nMessage-ID: <%s@x>\r\n\r\nHello.\r\n" % (token, token)
        try:
            client = client or smtplib.LMTP("/run/dovecot/lmtp", timeout=30)
            client.sendmail("a@example.org", [user], mail)
            print(user, token, flush=True)
            number += 1
            owed -= 1
        except (OSError, smtplib.SMTPException):
            print("R", token, flush=True)
            client = None
            time.sleep(0.5)
"""


class Post:
    """Mail that comes in on hosts for some seconds, so many each second."""

    def __init__(self, pair, seconds, rate, hosts=HOSTS, users=FEW):
        series = f"{time.time():.0f}"
        self._work = [
            pair.lab.converse(
                host, "python3", "-u", "-c", POST, str(seconds), str(rate), str(users), f"{host[:3]}-{series}"
            )
            for host in hosts
        ]
        self.sent = collections.Counter()
        self.again = set()

    def end(self):
        for process in self._work:
            for line in process.communicate()[0].splitlines():
                who, token = line.split()
                if who == "R":
                    self.again.add(token)
                else:
                    self.sent[who, token] += 1
        return self


def mail_on(pair, host):
    """How often each user has each mail, by its subject."""
    shown = pair.shell("doveadm -f tab fetch -u 'u*' 'user hdr.subject' mailbox INBOX all", host).stdout
    return collections.Counter(tuple(line.split("\t")[-2:]) for line in shown.splitlines()[1:])


def judged(pair, post, what, allowed=25):
    """Wait until both hosts have the same mail; nothing that was accepted may be missing."""
    began = time.monotonic()
    while True:
        here, there = (mail_on(pair, host) for host in HOSTS)
        missing = [set(post.sent) - set(each) for each in (here, there)]
        if here == there and not any(missing) or time.monotonic() > began + CALM_SECONDS:
            break
        time.sleep(1)
    took = time.monotonic() - began
    doubled = sum(here[key] - 1 for key in post.sent if here[key] > 1 and key[1] not in post.again)
    print(
        f"\n{what}: {len(post.sent)} mails accepted, {max(map(len, missing))} lost, {doubled} doubled, equal after "
        f"{took:.0f} s; {len(post.again)} refused at first"
    )
    assert not any(missing), missing
    assert here == there
    # Maildir doubles some of the mail that both hosts receive for one user at once, with a replicator as well.
    assert doubled <= max(2, len(post.sent) // allowed)


def add_accounts(pair, letter, number):
    names = [f"{letter}{each:05}@example.org" for each in range(number)]
    entries = "".join(f"{name}:{{PLAIN}}lab:5000:5000::/srv/vmail/{name}::\n" for name in names)
    for host in HOSTS:
        pair.lab.execute(host, "tee", "-a", "/etc/dovecot/users", stdin=entries)


@pytest.fixture(scope="module")
def stormy():
    lab = Lab("storm")
    lab.up("trixie")
    options = ["-e", '{"mailhost_install": true, "mailhost_syntax": "2.4"}']
    runs.succeeded(runs.play(lab, INVENTORY, runs.MAILHOST, *options))
    pair = Pair(lab, "trixie")
    pair.variables = {"replication_engine": "service"}
    add_accounts(pair, "u", FEW)
    runs.succeeded(pair.play("setup"))
    # Each INBOX is made on one host.
    pair.shell("for i in $(doveadm user 'u*'); do printf 'Subject: first\\n\\nx\\n' | doveadm save -u $i; done")
    for host in HOSTS:
        assert not pair.module("replicator_replicate", host=host, user_mask="*", wait=True, wait_timeout=300)["failed"]
    yield pair
    if not os.environ.get("MAILOPS_LAB_KEEP"):
        lab.down()


def told(pair):
    """What both hosts have said in the last minutes."""
    look = "journalctl --since -3min -o short-precise -u dovecot-replication -u dovecot | grep -v 'saved mail to INBOX'"
    return "\n".join(pair.shell(f"{look} | tail -40", host).stdout for host in HOSTS)


def restarts(pair, host=MX1):
    return int(pair.shell(f"systemctl show -p NRestarts --value {SERVICE}", host).stdout)


def test_killed_again_and_again(stormy):
    """With its syncs, on both hosts, each ten seconds."""
    end = time.monotonic() + 60 * MINUTES
    before = restarts(stormy)
    post = Post(stormy, 60 * MINUTES, 2)
    while time.monotonic() < end:
        time.sleep(10)
        for host in HOSTS:
            stormy.shell(f"systemctl kill -s KILL {SERVICE}; true", host)
    time.sleep(3)
    judged(stormy, post.end(), f"killed {restarts(stormy) - before} times on mx1")


def test_the_network_is_cut(stormy):
    post = Post(stormy, 90, 4)
    time.sleep(15)
    with stormy.cut_off():
        time.sleep(60)
    judged(stormy, post.end(), "no network for a minute")


def test_both_hosts_lose_their_power(stormy):
    post = Post(stormy, 20, 4)
    time.sleep(12)
    engine = stormy.lab.engine
    containers = [stormy.lab.container(host) for host in HOSTS]
    engine("kill", *containers)
    engine("start", *containers)
    stormy.lab._entrances.clear()
    stormy._agents.clear()
    stormy.lab.up("trixie")
    judged(stormy, post.end(), "both hosts killed and started")
    for host in HOSTS:
        assert stormy.shell(f"systemctl is-active {SERVICE}", host).stdout == "active\n"


def test_the_disk_is_full(stormy):
    """That of what the service keeps. It goes on by what it knows, and says what it lacks."""
    state = "/var/lib/dovecot-replication"
    stormy.shell(
        f"systemctl stop {SERVICE}; cp -a {state} /srv/kept; mount -t tmpfs -o size=2m tmpfs {state};"
        f"cp -a /srv/kept/. {state}/; systemctl start {SERVICE}; sleep 3; dd if=/dev/zero of={state}/full bs=4k; true"
    )
    try:
        post = Post(stormy, 30, 4).end()
        judged(stormy, post, "a full disk")
        said = stormy.shell(f"journalctl -u {SERVICE} --since -1min -o cat").stdout
        assert "nothing can be written below" in said
        assert restarts(stormy) == 0 or stormy.shell(f"systemctl is-active {SERVICE}").stdout == "active\n"
        stormy.shell(f"rm {state}/full")
        judged(stormy, Post(stormy, 10, 4).end(), "and room again")
    finally:
        stormy.shell(f"systemctl stop {SERVICE}; umount {state}; systemctl start {SERVICE}")


def test_the_clock_is_set_back(stormy):
    """By two days, for the service and its syncs."""
    stormy.shell("DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends faketime")
    library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
    unit = f"[Service]\nEnvironment=FAKETIME=-2d DONT_FAKE_MONOTONIC=1 LD_PRELOAD={library}\n"
    stormy.shell(f"test -e {library}; mkdir -p /run/systemd/system/{SERVICE}.d")
    stormy.lab.execute(MX1, "tee", f"/run/systemd/system/{SERVICE}.d/clock.conf", stdin=unit)
    stormy.shell(f"systemctl daemon-reload; systemctl restart {SERVICE}; sleep 2")
    try:
        judged(stormy, Post(stormy, 30, 4).end(), "a clock set back by two days")
        said = stormy.shell(f"journalctl -u {SERVICE} --since -1min -o cat").stdout
        assert "Traceback" not in said
    finally:
        stormy.shell(f"rm -r /run/systemd/system/{SERVICE}.d; systemctl daemon-reload; systemctl restart {SERVICE}")


def test_both_hosts_get_mail_for_the_same_users_at_once(stormy):
    judged(stormy, Post(stormy, 20, 20, users=20).end(), "20 mails a second and host for 20 users")


def test_a_day_of_mail(stormy):
    """Bursts and quiet, at both ends; a mail that comes when it is quiet crosses at once."""
    post = Post(stormy, 60 * MINUTES, 1.5)
    took = []
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end - 20:
        token = stormy.deliver("alice@example.org")
        seconds = stormy.arrived("alice@example.org", token, seconds=CALM_SECONDS)
        assert seconds is not None, told(stormy)
        took.append(seconds)
        time.sleep(5)
    took.sort()
    print(f"\n{len(took)} probes: median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s")
    judged(stormy, post.end(), "a day of mail")


def test_many_users_are_swept(stormy):
    """Mail that comes meanwhile is not late."""
    add_accounts(stormy, "m", MANY)
    began = time.monotonic()
    stormy.shell(f"systemctl restart {SERVICE}")
    took, never = [], 1
    while never:
        token = stormy.deliver("alice@example.org")
        took.append(stormy.arrived("alice@example.org", token, MX2, seconds=30))
        time.sleep(3)
        info = stormy.module("replicator_info", gather=["summary"])["summary"]
        never = info["never_synced"] if info["known_users"] > MANY else 1
    first = time.monotonic() - began
    took.sort()
    rss = stormy.shell(f"ps -o rss= -p $(systemctl show -p MainPID --value {SERVICE})").stdout.strip()
    print(
        f"\nfirst sync of {MANY} users: {first:.0f} s; mail meanwhile: median {took[len(took) // 2]:.2f} s, longest "
        f"{took[-1]:.2f} s of {len(took)}; RSS {int(rss) // 1024} MB"
    )
