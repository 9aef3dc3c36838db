# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service under mail and under blows: no mail is lost, whatever happens to it, to the peer or to the way between.

Each test prints how many mails were accepted, lost and doubled. MAILOPS_STORM_MINUTES: how long the storms are that
take longest, 10 if not set; MAILOPS_STORM_USERS: how many users are swept, 10,000 if not set.
"""

import collections
import contextlib
import os
import time

import pytest
from conftest import HOSTS, MX1, MX2, USERDB_SECONDS, set_up
from lab import Lab
from machines import Machines

pytestmark = pytest.mark.torture

SERVICE = "dovecot-replication.service"
MINUTES = float(os.environ.get("MAILOPS_STORM_MINUTES", "10"))
MANY = int(os.environ.get("MAILOPS_STORM_USERS", "10000"))
# Those who get mail.
FEW = 50
# How long both hosts may take to have the same mail after a storm.
CALM_SECONDS = 180
SOCKET = "/run/dovecot-replication/replicator-doveadm"
# Asks a socket of a replicator for all users, and prints how many it lists, how many of them wait for a sync, and how
# many seconds that took.
LIST = r"""
import socket, sys, time
client = socket.socket(socket.AF_UNIX)
client.connect(sys.argv[1])
began = time.monotonic()
client.sendall(b"VERSION\treplicator-doveadm-client\t1\t0\nSTATUS\t*\n")
answer = client.makefile("rb")
answer.readline()
waiting = []
while (line := answer.readline().strip()):
    waiting.append(line.endswith(b"\t0"))
print(len(waiting), sum(waiting), time.monotonic() - began)
"""
# Delivers mail over LMTP, as an MTA does, in bursts of random size, and prints what was accepted. A mail that is
# refused is sent again, as an MTA would do it, so it can come twice, and is told with an R.
POST = r"""
import random, smtplib, sys, time
seconds, rate, first, users, prefix = *map(float, sys.argv[1:3]), *map(int, sys.argv[3:5]), sys.argv[5]
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
        user, token = "u%05d@example.org" % (first + rng.randrange(users)), "%s-%06d" % (prefix, number)
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
    """Mail that comes in on hosts for some seconds, so many each second.

    :arg apart: whether each host gets mail for users of its own
    """

    def __init__(self, pair, seconds, rate, hosts=HOSTS, users=FEW, apart=False):
        series = f"{time.time():.0f}"
        self._work = []
        for number, host in enumerate(hosts):
            values = [seconds, rate, users * number * apart, users, f"{host[:3]}-{series}"]
            self._work.append(pair.lab.converse(host, "python3", "-u", "-c", POST, *map(str, values)))
        self.sent = collections.Counter()
        self.again = set()

    def end(self):
        for process in self._work:
            # The last line is not whole where the host went down.
            for line in process.communicate()[0].split("\n")[:-1]:
                who, token = line.split()
                if who == "R":
                    self.again.add(token)
                else:
                    self.sent[who, token] += 1
        return self


def mail_on(pair, host):
    """How often each user has each mail, by its subject. After a power cut Dovecot may have to mend an index first."""
    shown = pair.shell("doveadm -f tab fetch -u 'u*' 'user hdr.subject' mailbox INBOX all", host, check=False).stdout
    return collections.Counter(tuple(line.split("\t")[-2:]) for line in shown.splitlines()[1:])


def judged(pair, post, what, calm=CALM_SECONDS, allowed=25):
    """Wait until both hosts have the same mail; nothing that was accepted may be missing."""
    began = time.monotonic()
    while True:
        here, there = (mail_on(pair, host) for host in HOSTS)
        missing = [set(post.sent) - set(each) for each in (here, there)]
        if here == there and not any(missing) or time.monotonic() > began + calm:
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
    time.sleep(USERDB_SECONDS)


def with_service(lab, few=FEW):
    """A pair with the service, and so many users who get mail; a generator of one."""
    lab.up("trixie")
    for pair in set_up(lab, "trixie", mailhost_syntax="2.4", setup={"replication_engine": "service"}):
        add_accounts(pair, "u", few)
        # Each INBOX is made on one host.
        pair.shell("for i in $(doveadm user 'u*'); do printf 'Subject: first\\n\\nx\\n' | doveadm save -u $i; done")
        for host in HOSTS:
            done = pair.module("replicator_replicate", host=host, user_mask="*", wait=True, wait_timeout=300)
            assert not done["failed"]
        yield pair


@pytest.fixture(scope="module")
def stormy():
    yield from with_service(Lab("storm"))


@pytest.fixture(scope="module")
def powered():
    """Virtual machines, which are slow where they are emulated, and end with the test."""
    lab = Machines("power")
    try:
        yield from with_service(lab, few=10)
    finally:
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


def test_both_hosts_are_killed(stormy):
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


def has_come_back(pair, post, what):
    """Both hosts have, with all mail and the service; return what it has said since the boot."""
    pair._agents.clear()
    judged(pair, post, what, calm=600)
    for host in HOSTS:
        assert pair.shell(f"systemctl is-active {SERVICE}", host).stdout == "active\n"
    return [pair.shell(f"journalctl -b -o cat -u {SERVICE}", host).stdout for host in HOSTS]


def test_both_hosts_are_rebooted(powered):
    post = Post(powered, 60, 1, users=5, apart=True)
    time.sleep(30)
    powered.lab.reboot(*HOSTS)
    for said in has_come_back(powered, post.end(), "both hosts rebooted"):
        assert "compared in full" not in said


@pytest.mark.parametrize("attempt", range(3))
def test_both_hosts_lose_their_power(powered, attempt):
    """What was not on the disk is lost, so everybody is compared in full."""
    post = Post(powered, 60, 1, users=5, apart=True)
    time.sleep(25 + 5 * attempt)
    powered.lab.cut_power(*HOSTS)
    powered.lab.power_on(*HOSTS)
    for said in has_come_back(powered, post.end(), "both hosts without power"):
        assert "everybody is compared in full, as the host went down without a warning" in said


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


def memory(pair, host=MX1):
    """In MB: the most that the service has had resident, without its syncs."""
    peak = pair.shell(
        f"sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\).*/\\1/p' /proc/{main_process(pair, host)}/status", host
    ).stdout
    return int(peak) / 1024


def main_process(pair, host=MX1):
    return int(pair.shell(f"systemctl show -p MainPID --value {SERVICE}", host).stdout)


def processor_seconds(pair, host=MX1):
    """That the service has used, without its syncs."""
    fields = pair.shell(f"cat /proc/{main_process(pair, host)}/stat", host).stdout.rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def listed(pair, host=MX1):
    """How many users ``STATUS *`` lists, how many of them wait, and in what time it tells."""
    count, waiting, seconds = pair.lab.execute(host, "python3", "-c", LIST, SOCKET).stdout.split()
    return int(count), int(waiting), float(seconds)


def probed(pair, seconds):
    """How long single mails take to the peer, sorted, sent one after the other for so long."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        token = pair.deliver("alice@example.org")
        took.append(pair.arrived("alice@example.org", token, MX2, seconds=30))
        assert took[-1] is not None, told(pair)
        time.sleep(3)
    return sorted(took)


def distribution(took):
    return f"{len(took)} mails, median {took[len(took) // 2]:.2f} s, longest {took[-1]:.2f} s"


def test_many_users_are_swept(stormy):
    """Mail that comes meanwhile is not late, whatever is restarted; the service is small, quick and quiet."""
    add_accounts(stormy, "m", MANY)
    stormy.shell(f"systemctl restart {SERVICE}")
    began = time.monotonic()
    while (count := listed(stormy)[0]) <= MANY:
        assert time.monotonic() < began + 120, count
        time.sleep(0.5)
    print(f"\n{MANY} users are on the list after {time.monotonic() - began:.1f} s", flush=True)
    print(f"while all wait for their first sync: {distribution(probed(stormy, 60))}", flush=True)

    restarted = time.monotonic()
    stormy.shell(f"systemctl restart {SERVICE}")
    ready = time.monotonic() - restarted
    print(f"restarted: ready after {ready:.1f} s; {distribution(probed(stormy, 60))}", flush=True)
    # Deliveries are refused while it reloads.
    stormy.shell("doveadm reload; sleep 3")
    print(f"after a reload of Dovecot: {distribution(probed(stormy, 60))}", flush=True)
    with on_hold(stormy):
        before = processor_seconds(stormy)
        time.sleep(60)
        used = processor_seconds(stormy) - before
        quickest = min(listed(stormy)[2] for _look in range(5))
        print(f"a minute on hold: {used:.2f} s of processor; lists all in {quickest:.2f} s; {memory(stormy):.0f} MB")

    took = []
    while listed(stormy)[1]:
        took += probed(stormy, 20)
    print(f"all synced {time.monotonic() - began:.0f} s after the start; {distribution(sorted(took))}", flush=True)
    judged(stormy, Post(stormy, 20, 4).end(), f"with {MANY} users")
    assert memory(stormy) < 200


@contextlib.contextmanager
def on_hold(pair):
    """No sync is started, and none is under way."""
    hold = "/etc/dovecot/replication-hold.conf.ext"
    pair.shell(f"touch {hold}")
    try:
        while pair.syncing():
            time.sleep(0.2)
        yield
    finally:
        pair.shell(f"rm {hold}")
