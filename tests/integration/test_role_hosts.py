# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role on hosts as people have them: other addresses, userdbs, a second Dovecot; and replication taken away again.

The schemes on each Dovecot are the matter of the molecule scenarios.
"""

import json
import re
import socket
import time

import pytest
import runs
from conftest import API_KEY, BY_ANSIBLE, EVERYONE, HOSTS, MX1, MX2
from runs import changes, failures, findings_of, succeeded

ALICE = "alice@example.org"
AUTH = "/etc/dovecot/conf.d/10-auth.conf"
LOCAL = "/etc/dovecot/local.conf"
SQL = "/etc/dovecot/dovecot-sql.conf.ext"
LDAP = "/etc/dovecot/dovecot-ldap.conf.ext"

pytestmark = pytest.mark.parametrize("pair", [BY_ANSIBLE], indirect=True)


def crosses_both_ways(pair, user=ALICE):
    for here, there in (HOSTS, HOSTS[::-1]):
        token = pair.deliver(user, here)
        # A sync of the user that the other host has started may hold the lock for half a minute.
        assert pair.arrived(user, token, there, seconds=40) is not None, (here, there)


def replica(pair, host=MX1):
    return pair.shell("doveconf -h plugin/mail_replica", host).stdout.strip()


def snapshot(pair, host):
    """What the role may change: files with contents, modes and owners, but for the mail and Dovecot's own logs."""
    places = "/etc/dovecot /run/dovecot /srv/vmail/.ssh /var/lib/dovecot"
    listing = f"find {places} -name 'stats-reader*' -prune -o -printf '%y %p %m %u %g\\n' 2>/dev/null | sort"
    contents = "find /etc/dovecot -type f -exec md5sum {} + | sort"
    return pair.shell(f"{listing}; {contents}; ss -Hltn | awk '{{print $4}}' | sort", host).stdout.splitlines()


@pytest.fixture
def configured(pair):
    """The pair, which afterwards is what it was before."""
    yield pair
    succeeded(pair.play("setup"))
    crosses_both_ways(pair)


def ipv6(pair, host):
    found = re.search(r"inet6 (\S+)/\d+ scope global", pair.shell("ip -6 addr show dev eth0", host).stdout)
    return found[1] if found else pytest.skip("the network of the lab has no IPv6")


def peers(tmp_path, addresses):
    """An inventory file that has each host call the other by an address."""
    path = tmp_path / "peers.json"
    hosts = {host: {"replication_peer": addresses[peer]} for host, peer in (HOSTS, HOSTS[::-1])}
    path.write_text(json.dumps({"dovecot_replication": {"hosts": hosts}}))
    return ["-i", str(path)]


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_addresses_instead_of_names(configured, tmp_path, family):
    """The listener is bound to just that address."""
    if family == "IPv6":
        addresses = {host: ipv6(configured, host) for host in HOSTS}
        expected = f"tcp:[{addresses[MX2]}]:2525"
    else:
        addresses = {host: configured.shell("hostname -I", host).stdout.split()[0] for host in HOSTS}
        expected = f"tcp:{addresses[MX2]}:2525"
    listen = {MX1: [addresses[MX1]], MX2: [addresses[MX2]]}
    inventory = peers(tmp_path, addresses)
    options = {"replication_port": 2525, "addresses": listen}
    succeeded(
        configured.play("setup", *inventory, "-e", "replication_listen={{ addresses[inventory_hostname] }}", **options)
    )
    assert replica(configured) == expected
    bound = configured.shell("ss -Hltn | awk '{print $4}' | grep ':2525$'").stdout.split()
    assert bound == [f"[{addresses[MX1]}]:2525" if family == "IPv6" else f"{addresses[MX1]}:2525"]
    crosses_both_ways(configured)


@pytest.mark.rare
def test_a_network_of_its_own(configured, tmp_path):
    """The hosts have names of IPv6 alone there, and each calls the other at another port than that one's peer does."""
    configured.tidy()
    names, ports = {MX1: "mx1-repl", MX2: "mx2-repl"}, {MX1: 2525, MX2: 2626}
    for here, there in (HOSTS, HOSTS[::-1]):
        configured.shell(
            f"cp /etc/hosts /srv/hosts.kept; echo '{ipv6(configured, there)} {names[there]}' >> /etc/hosts", here
        )
    hosts = {
        here: {
            "replication_peer": names[there],
            "replication_port": ports[here],
            "replication_peer_port": ports[there],
            "replication_listen": ["::"],
        }
        for here, there in (HOSTS, HOSTS[::-1])
    }
    path = tmp_path / "network.json"
    path.write_text(json.dumps({"dovecot_replication": {"hosts": hosts}}))
    options = dict(replication_verify=True, replication_probe_user=ALICE)
    try:
        results = succeeded(configured.play("setup", "-i", str(path), **options))
        assert replica(configured) == "tcp:mx2-repl:2626" and replica(configured, MX2) == "tcp:mx1-repl:2525"
        assert findings_of(results) == []
        crosses_both_ways(configured)
    finally:
        for host in HOSTS:
            # Not mv: the engine has mounted the file.
            configured.shell("cat /srv/hosts.kept > /etc/hosts", host)


def test_tls_goes_by_the_name_and_the_authority(configured):
    """With the peer's certificate as authority mail crosses; with another one each sync fails."""
    own = "/etc/dovecot/private/dovecot"
    for here, there in (HOSTS, HOSTS[::-1]):
        certificate = configured.shell(f"cat {own}.pem", there).stdout
        configured.lab.execute(here, "tee", "/etc/dovecot/peer.pem", stdin=certificate)
    tls = {
        "replication_scheme": "tcps",
        "replication_tls_ca_file": "/etc/dovecot/peer.pem",
        "replication_tls_cert_file": f"{own}.pem",
        "replication_tls_key_file": f"{own}.key",
    }
    global_before = configured.shell("doveconf ssl_client_ca_file ssl_cert ssl_key ssl").stdout
    succeeded(configured.play("setup", **tls))
    assert configured.shell("doveconf ssl_client_ca_file ssl_cert ssl_key ssl").stdout == global_before
    crosses_both_ways(configured)

    succeeded(configured.play("setup", **{**tls, "replication_tls_ca_file": f"{own}.pem"}))
    result = configured.module("replicator_replicate", users=[ALICE], wait=True)
    assert result["failed"] and result["failed_users"] == [ALICE]
    log = configured.shell("journalctl -n 50 -o cat --no-pager").stdout
    assert "certificate" in log
    configured.shell("rm /etc/dovecot/peer.pem")
    configured.shell("rm /etc/dovecot/peer.pem", MX2)


SQL_AUTH = f"""
passdb {{
  driver = sql
  args = {SQL}
}}
userdb {{
  driver = sql
  args = {SQL}
}}
"""
SQL_SETTINGS = """driver = sqlite
connect = /etc/dovecot/users.sqlite
default_pass_scheme = PLAIN
password_query = SELECT email AS user, 'lab' AS password FROM mailboxes WHERE email = '%u'
user_query = SELECT '/srv/vmail/' || email AS home, 5000 AS uid, 5000 AS gid FROM mailboxes WHERE email = '%u'
# secret-of-the-database
"""
SQL_DATABASE = """
import sqlite3
with sqlite3.connect("/etc/dovecot/users.sqlite") as database:
    database.execute("CREATE TABLE IF NOT EXISTS mailboxes (email TEXT PRIMARY KEY)")
    for name in ("alice", "bob", "carol", "dave"):
        database.execute("INSERT OR IGNORE INTO mailboxes VALUES (?)", (name + "@example.org",))
"""


def iteration_is_explained_and_mended(pair, iterate, settings_file):
    """Without it the role ends with what is wrong; with it everyone is listed, and absent gives the file back."""
    before = pair.shell(f"md5sum {settings_file}; stat -c '%a %U %G' {settings_file}").stdout
    for host in HOSTS:
        pair.shell("systemctl restart dovecot", host)
    without = pair.play("setup")
    listed = pair.play("setup", "--check", "--diff", replication_iterate=iterate)
    assert "secret-of-the-database" not in str(listed)
    results = succeeded(pair.play("setup", "--diff", replication_iterate=iterate))
    assert "secret-of-the-database" not in str(results)
    assert changes(succeeded(pair.play("setup", replication_iterate=iterate))) == []
    assert pair.shell("doveadm user '*' | sort").stdout.split() == EVERYONE
    assert pair.listed() == EVERYONE
    crosses_both_ways(pair)
    assert pair.shell(f"stat -c '%a %U %G' {settings_file}").stdout == before.splitlines()[1] + "\n"
    succeeded(pair.play("setup", replication_iterate=iterate, replication_state="absent"))
    assert pair.shell(f"md5sum {settings_file}; stat -c '%a %U %G' {settings_file}").stdout == before
    return failures(without)


def a_null_among_the_names_is_refused(pair):
    """Dovecot's own line says what is wrong. Nothing is written, and check mode says the same."""
    nullable = "CREATE TABLE IF NOT EXISTS nameless (email TEXT); INSERT INTO nameless VALUES (NULL)"
    for host in HOSTS:
        script = "import sqlite3\nwith sqlite3.connect('/etc/dovecot/users.sqlite') as database:\n"
        script += f"    database.executescript({nullable!r})\n"
        pair.lab.execute(host, "python3", "-", stdin=script)
        pair.shell(
            f"echo 'iterate_query = SELECT email AS user FROM nameless' >> {SQL}; systemctl restart dovecot", host
        )
    before = pair.shell("ls -lR --time-style=full-iso /etc/dovecot").stdout
    for options in (["--check"], []):
        messages = failures(pair.play("setup", *options))
        assert len(messages) == 2 and all("NULL" in message and "iterate_query" in message for message in messages)
    assert pair.shell("ls -lR --time-style=full-iso /etc/dovecot").stdout == before
    pair.shell("systemctl stop dovecot")
    try:
        results = pair.play("setup", "--check", "--limit", MX1)
        assert "was not asked whether its userdb lists" in str(results)
    finally:
        pair.shell("systemctl start dovecot")


def test_an_sql_userdb(configured):
    with configured.replaced({AUTH: SQL_AUTH, SQL: SQL_SETTINGS}):
        for host in HOSTS:
            configured.shell("apt-get install -y --no-install-recommends dovecot-sqlite", host)
            configured.lab.execute(host, "python3", "-", stdin=SQL_DATABASE)
            configured.shell(f"chmod 640 {SQL}; chgrp dovecot {SQL}", host)
        iterate = {"driver": "sql", "file": SQL, "query": "SELECT email AS user FROM mailboxes"}
        messages = iteration_is_explained_and_mended(configured, iterate, SQL)
        a_null_among_the_names_is_refused(configured)
    for host in HOSTS:
        configured.shell("systemctl restart dovecot", host)
    assert len(messages) == 2 and all("SQL needs iterate_query" in message for message in messages)
    # Dovecot's own line says which query has failed.
    assert all("Iterate query failed: no such table: users" in message for message in messages)


LDAP_AUTH = SQL_AUTH.replace("sql", "ldap")
LDAP_SETTINGS = """hosts = mx1.example.org
base = ou=mail,dc=example,dc=org
dn = cn=admin,dc=example,dc=org
dnpass = secret-of-the-database
user_filter = (mail=%u)
user_attrs = =home=/srv/vmail/%{ldap:mail}, =uid=5000, =gid=5000
pass_filter = (mail=%u)
pass_attrs = mail=user,userPassword=password
"""
PEOPLE = """dn: ou=mail,dc=example,dc=org
objectClass: organizationalUnit
ou: mail
""" + "".join(
    f"""
dn: uid={name},ou=mail,dc=example,dc=org
objectClass: inetOrgPerson
uid: {name}
cn: {name}
sn: {name}
mail: {name}@example.org
"""
    for name in ("alice", "bob", "carol", "dave")
)


@pytest.fixture
def directory(pair):
    """A real OpenLDAP server on the first host."""
    selections = (
        "".join(
            f"slapd slapd/{question}\n"
            for question in (
                "domain string example.org",
                "password1 password secret-of-the-database",
                "password2 password secret-of-the-database",
            )
        )
        + "slapd shared/organization string lab\n"
    )
    pair.lab.execute(MX1, "debconf-set-selections", stdin=selections)
    pair.shell("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slapd")
    pair.lab.execute(MX1, "tee", "/srv/people.ldif", stdin=PEOPLE)
    # Debian's script for it does not get along with systemd in a container.
    stop = "pkill -x slapd; while pgrep -x slapd; do sleep 0.1; done"
    pair.shell(f"{stop}; slapadd -c -l /srv/people.ldif; chown -R openldap: /var/lib/ldap", check=False)
    pair.shell("slapd -h ldap:/// -u openldap -g openldap -F /etc/ldap/slapd.d")
    yield
    pair.shell(stop)


@pytest.mark.rare
def test_an_ldap_userdb(configured, directory):
    """Its default filter looks for accounts of the system, so it lists nobody and says nothing."""
    with configured.replaced({AUTH: LDAP_AUTH, LDAP: LDAP_SETTINGS}):
        for host in HOSTS:
            configured.shell("apt-get install -y --no-install-recommends dovecot-ldap", host)
            configured.shell(f"chmod 600 {LDAP}", host)
        iterate = {"driver": "ldap", "file": LDAP, "attrs": "mail=user", "filter": "(objectClass=inetOrgPerson)"}
        messages = iteration_is_explained_and_mended(configured, iterate, LDAP)
    assert len(messages) == 2 and all("ldap.conf.ext sets no iterate_filter" in message for message in messages)


SYSTEM_AUTH = """
passdb {
  driver = pam
}
userdb {
  driver = passwd
}
"""


def accounts_that_cannot_have_mail_are_named(pair, variables):
    """Also where the administrator has accepted them. One whose mail cannot be read does not end the run."""
    for host in HOSTS:
        pair.module("replicator_user", host, user_mask="*@*", state="absent")
    assert findings_of(pair.play("verify", **variables)) == []
    pair.shell("mv /home/fritz/Maildir /home/fritz/kept; touch /home/fritz/Maildir")
    # The first run has its sync fail, and the next one finds it failing.
    assert {item["id"] for item in findings_of(pair.play("verify", **variables))} == {"sync_failed"}
    found = findings_of(pair.play("verify", **variables))
    assert "fritz" in next(item["evidence"] for item in found if item["id"] == "mail_unreadable")
    pair.shell("rm /home/fritz/Maildir; mv /home/fritz/kept /home/fritz/Maildir")
    accepting = {**variables, "replication_first_valid_uid": 998, "replication_require_iteration": False}
    found = findings_of(pair.play("setup", **accepting, replication_verify=True))
    assert (MX1, "accounts_without_mail") in [(item["host"], item["id"]) for item in found]
    assert "systemd-network" in next(item["evidence"] for item in found if item["id"] == "accounts_without_mail")


def test_users_of_the_system(configured):
    """Each owns its mail; a group that they share may announce it. ``nobody`` stays off the list."""
    for host in HOSTS:
        configured.shell(
            "groupadd mailusers; useradd -m -u 6001 -G mailusers erna; useradd -m -u 6002 -G mailusers fritz; "
            # The uid of the lab's vmail is one of people, too.
            "usermod -a -G mailusers vmail",
            host,
        )
    socket = {"mode": "0660", "user": "root", "group": "mailusers"}
    variables = {
        "replication_doveadm_socket": socket,
        "replication_notify_socket": socket,
        "replication_notify_fifo": socket,
        "replication_first_valid_uid": 1000,
        "replication_last_valid_uid": 65533,
    }
    with configured.replaced({AUTH: SYSTEM_AUTH, LOCAL: "mail_location = maildir:~/Maildir\n"}):
        results = succeeded(configured.play("setup", **variables))
        assert len([change for change in changes(results) if "Reload" in change[1]]) == 2
        assert {"erna", "fritz"} <= set(configured.listed())
        assert not {"nobody", "systemd-network"}.intersection(configured.listed())
        crosses_both_ways(configured, "erna")
        assert configured.module("replicator_replicate", users=["erna", "fritz"], wait=True)["synced_users"] == [
            "erna",
            "fritz",
        ]
        accounts_that_cannot_have_mail_are_named(configured, variables)
    for host in HOSTS:
        configured.shell("userdel -r erna; userdel -r fritz; groupdel mailusers", host)


SECOND = "/etc/dovecot-second"
SECOND_CONF = """
base_dir = /run/dovecot-second
state_dir = /var/lib/dovecot-second
instance_name = second
log_path = /var/log/dovecot-second.log
protocols =
ssl = no
mail_location = maildir:/srv/vmail/second/%u
mail_uid = vmail
mail_gid = vmail
passdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
userdb {
  driver = passwd-file
  args = /etc/dovecot/users
}
!include_try conf.d/*.conf
"""
SECOND_UNIT = """[Service]
Type=forking
PIDFile=/run/dovecot-second/master.pid
ExecStart=/usr/sbin/dovecot -c /etc/dovecot-second/dovecot.conf
ExecReload=/usr/bin/doveadm -c /etc/dovecot-second/dovecot.conf reload
RuntimeDirectory=dovecot-second
StateDirectory=dovecot-second
[Install]
WantedBy=multi-user.target
"""


@pytest.mark.rare
def test_a_second_dovecot_on_the_hosts(configured):
    """It replicates by itself; the first one is not touched."""
    first = {host: snapshot(configured, host) for host in HOSTS}
    for host in HOSTS:
        configured.shell(f"mkdir -p {SECOND}/conf.d /run/dovecot-second", host)
        configured.lab.execute(host, "tee", f"{SECOND}/dovecot.conf", stdin=SECOND_CONF)
        configured.lab.execute(host, "tee", "/etc/systemd/system/dovecot-second.service", stdin=SECOND_UNIT)
        configured.shell("systemctl daemon-reload; systemctl start dovecot-second", host)
    variables = {
        "replication_config_dir": SECOND,
        "replication_base_dir": "/run/dovecot-second",
        "replication_service": "dovecot-second",
        "replication_port": 12346,
    }
    try:
        succeeded(configured.play("setup", **variables))
        assert changes(succeeded(configured.play("setup", **variables))) == []
        mail = "Subject: second\n\nHello.\n"
        lda = ["/usr/lib/dovecot/dovecot-lda", "-c", f"{SECOND}/dovecot.conf", "-d", ALICE]
        configured.lab.execute(MX1, *lda, stdin=mail)
        deadline = time.monotonic() + runs.ARRIVAL_SECONDS
        look = f"grep -rlqs 'Subject: second' /srv/vmail/second/{ALICE}"
        while configured.shell(look, MX2, check=False).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        succeeded(configured.play("setup", **{**variables, "replication_state": "absent"}))
        left = configured.shell(
            f"find {SECOND} /run/dovecot-second /var/lib/dovecot-second -name 'repl*'"
        ).stdout.split()
        assert sorted(left) == [
            f"/run/dovecot-second/{name}" for name in ("replication-notify", "replication-notify-fifo", "replicator")
        ]
    finally:
        for host in HOSTS:
            configured.shell(f"systemctl disable --now dovecot-second; rm -rf {SECOND} /srv/vmail/second", host)
    here = [line for line in first[MX1] if "12346" not in line]
    assert [line for line in snapshot(configured, MX1) if "12346" not in line] == here


@pytest.fixture(scope="module")
def collections():
    """The path of collections with the two that open firewalls."""
    return runs.with_collections("ansible~=14.0", "community.general", "ansible.posix")


NFTABLES = """#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ct state established,related accept
    iif lo accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
    tcp dport 22 accept
  }
}
"""
# How each is brought into use, closed but for ssh, and out of it again.
FIREWALLS = {
    "nftables": (
        f"cat > /etc/nftables.conf <<'END'\n{NFTABLES}END\nsystemctl restart nftables",
        "systemctl stop nftables",
    ),
    "ufw": ("ufw allow 22/tcp && ufw --force enable", "ufw --force reset"),
    "firewalld": (
        "systemctl start firewalld && firewall-cmd --add-service=ssh --permanent",
        "systemctl stop firewalld",
    ),
}


def reached(pair, host=MX1, port=12345):
    """Whether the machine of the tests, which is not the peer, reaches a port of a host."""
    address = pair.shell("hostname -I", host).stdout.split()[0]
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "firewall",
    # A minute or two each.
    ["nftables", *[pytest.param(name, marks=pytest.mark.torture) for name in FIREWALLS if name != "nftables"]],
)
@pytest.mark.rare
def test_the_firewall_is_opened_for_the_peer_alone(configured, collections, firewall):
    """And the API for its clients."""
    start, stop = FIREWALLS[firewall]
    asks = f"timeout 3 bash -c 'echo > /dev/tcp/{MX1}/8080'"

    def run(*options, **variables):
        environment = {"ANSIBLE_COLLECTIONS_PATH": collections}
        variables = {
            "replication_firewall": firewall,
            # As the pair has an API already.
            "replication_api_port": 8080,
            "replication_api_key": API_KEY,
            "replication_api_clients": configured.shell("hostname -I", MX2).stdout.split(),
            **variables,
        }
        return configured.play("setup", *options, environment=environment, **variables)

    assert reached(configured)
    for host in HOSTS:
        configured.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {firewall}", host)
        configured.shell(start, host)
    try:
        token = configured.deliver(ALICE)
        assert configured.arrived(ALICE, token, seconds=3) is None and not reached(configured)
        announced = run("--check")
        done = run()
        assert changes(succeeded(announced)) == changes(succeeded(done)) != []
        assert changes(succeeded(run())) == []
        crosses_both_ways(configured)
        assert not reached(configured) and not reached(configured, port=8080)
        configured.shell(asks, MX2)
        if firewall == "nftables":
            configured.shell("systemctl reload nftables")
            crosses_both_ways(configured)
            assert changes(succeeded(run())) == []
        succeeded(run(replication_state="absent"))
        succeeded(configured.play("setup"))
        token = configured.deliver(ALICE)
        assert configured.arrived(ALICE, token, seconds=3) is None
        assert configured.shell(asks, MX2, check=False).returncode != 0
        assert configured.shell("ls /etc/dovecot-replication.nft", check=False).returncode != 0
    finally:
        for host in HOSTS:
            configured.shell(stop, host)
            configured.shell(f"apt-get purge -y {firewall}", host)


@pytest.mark.torture
def test_another_user_over_ssh(configured):
    """The peer's key moves along: root, who let the peer in before, does so no more."""
    holds = "grep -qs 'mailops.dovecot_replication$' ~{0}/.ssh/authorized_keys && echo {0}"
    holders = "; ".join(holds.format(user) for user in ("root", "vmail"))

    def let_in(user):
        succeeded(configured.play("setup", replication_scheme="ssh", replication_ssh_user=user))
        crosses_both_ways(configured)
        return [configured.shell(holders, host, check=False).stdout.split() for host in HOSTS]

    try:
        for host in HOSTS:
            configured.shell("usermod --shell /bin/sh vmail", host)
        assert let_in("root") == [["root"]] * 2
        assert let_in("vmail") == [["vmail"]] * 2
    finally:
        succeeded(configured.play("setup"))
        for host in HOSTS:
            configured.shell("usermod --shell /usr/sbin/nologin vmail", host)
    assert [configured.shell(holders, host, check=False).stdout for host in HOSTS] == ["", ""]


def test_running_syncs_end_before_a_reload(configured):
    """One that does not end holds the reload up no longer than told, and is asked for again afterwards."""
    with configured.silent():
        configured.module("replicator_replicate", users=[ALICE], priority="high")
        began = time.monotonic()
        results = configured.play("setup", replication_hosts=MX1, replication_max_conns=4, replication_sync_patience=6)
        assert time.monotonic() - began >= 6
    succeeded(results)
    assert [line for line in results if line["task"].endswith("Wait for running syncs")][0]["result"][
        "pending_users"
    ] == [ALICE]
    assert configured.module("replicator_wait", users=[ALICE], until="synced", wait_timeout=60)["synced_users"] == [
        ALICE
    ]


def test_absent_gives_back_what_was_there(configured):
    """A check run announces what is done; of replication nothing is left, and the mail stays."""
    token = configured.deliver(ALICE)
    announced = configured.play("setup", "--check", "--diff", replication_state="absent")
    present = {host: snapshot(configured, host) for host in HOSTS}
    done = configured.play("setup", "--diff", replication_state="absent")
    assert changes(succeeded(announced)) == changes(succeeded(done))
    assert "only-for-the-lab" not in str(announced) + str(done)
    absent = {host: snapshot(configured, host) for host in HOSTS}
    for host in HOSTS:
        gone = "\n".join(line for line in present[host] if line not in absent[host])
        left = "\n".join(absent[host])
        for name in ("11-replication.conf", "replication-secret.conf.ext", "replicator-doveadm", ":12345"):
            assert name in gone and name not in left
        assert "replicator.db" not in left
    assert changes(succeeded(configured.play("setup", replication_state="absent"))) == []
    assert configured.arrived(ALICE, token, MX1) is not None

    succeeded(configured.play("setup"))
    succeeded(configured.play("setup", replication_state="absent"))
    assert {host: snapshot(configured, host) for host in HOSTS} == absent


def test_absent_when_dovecot_is_stopped_leaves_no_stale_socket(configured):
    """Killed, Dovecot removes nothing itself."""
    configured.shell(
        "systemctl kill -s KILL dovecot; sleep 1; systemctl stop dovecot; ls /run/dovecot/replicator-doveadm"
    )
    succeeded(configured.play("setup", replication_state="absent", replication_hosts=MX1))
    assert configured.shell("ls /run/dovecot/replicator-doveadm", check=False).returncode != 0
