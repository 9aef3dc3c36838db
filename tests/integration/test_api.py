# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""doveadm's HTTP API as the role opens it, and jobs that go there instead of logging in; see docs/api.md."""

import base64
import re

import pytest
import runs
from conftest import API, EVERYONE, HOSTS, INVENTORY, MX1, MX2
from controller import Controller
from runs import changes, failures, handed_over, succeeded

pytestmark = pytest.mark.parametrize("pair", ["bookworm-backports"], indirect=True)

ALICE = "alice@example.org"
KEY = "api-key-only-for-the-lab"
PORT = 8443
DOCS = runs.ROOT / "docs" / "api.md"
OWN_LISTENER = "/etc/dovecot/conf.d/96-api.conf"
# Makes an authority, and a certificate that it has signed, for the names given.
AUTHORITY = """
openssl req -x509 -newkey rsa:2048 -nodes -days 3 -subj /CN=authority -addext keyUsage=critical,keyCertSign \\
  -keyout ca.key -out ca.pem
"""
CERTIFICATE = """
openssl req -newkey rsa:2048 -nodes -subj /CN=api -keyout {host}.key -out {host}.csr
printf 'subjectAltName=DNS:{host},IP:{address}\\nauthorityKeyIdentifier=keyid\\n' > {host}.ext
openssl x509 -req -in {host}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3 -extfile {host}.ext -out {host}.pem
"""


class Api:
    """The API of a pair, and plays over it from a controller that cannot log in."""

    def __init__(self, pair, home):
        self.pair = pair
        self.addresses = {host: pair.shell("hostname -I", host).stdout.split()[0] for host in HOSTS}
        self.role = {
            "replication_api_port": PORT,
            "replication_api_key": KEY,
            "replication_tls_cert_file": "/etc/dovecot/api.pem",
            "replication_tls_key_file": "/etc/dovecot/api.key",
            "replication_api_commands": [
                *["replicator status", "replicator dsync-status", "replicator replicate", "replicator remove"],
                *["user", "fetch", "mailbox status"],
            ],
        }
        self.ca_file = home / "ca.pem"
        self.inventory = home / "api.yml"
        self.inventory.write_text(
            f"""
all:
  vars:
    replication_api_key: "{{{{ lookup('ansible.builtin.env', 'REPLICATION_API_KEY') }}}}"
    replication_api_ca_file: {self.ca_file}
  hosts:
    {MX1}: {{ansible_port: 1, replication_api_url: "https://{self.addresses[MX1]}:{PORT}"}}
    {MX2}: {{ansible_port: 1, replication_api_url: "https://{self.addresses[MX2]}:{PORT}"}}
"""
        )

    def make_certificates(self):
        script = AUTHORITY + "".join(CERTIFICATE.format(host=host, address=self.addresses[host]) for host in HOSTS)
        self.pair.shell(f"mkdir -p /srv/ca && cd /srv/ca && {{ {script} }} 2>/dev/null")
        for host in HOSTS:
            for kind in ("pem", "key"):
                content = self.pair.shell(f"cat /srv/ca/{host}.{kind}").stdout
                self.pair.lab.execute(host, "tee", f"/etc/dovecot/api.{kind}", stdin=content)
        self.ca_file.write_text(self.pair.shell("cat /srv/ca/ca.pem").stdout)

    def setup(self, *options, **variables):
        return self.pair.play("setup", *options, **{**self.role, **variables})

    def play(self, playbook, *options, key=KEY, **variables):
        return self.pair.play(
            playbook, "-i", str(self.inventory), *options, environment={"REPLICATION_API_KEY": key}, **variables
        )

    def print_of(self, playbook, *options):
        """All that a run shows, with the utmost verbosity and the arguments of the modules."""
        options = ["-i", str(self.inventory), "-vvvv", *options]
        command = runs.playbook_command(self.pair.lab, INVENTORY, playbook, *options)
        shown = {"ANSIBLE_SHOW_CUSTOM_STATS": "true", "ANSIBLE_INJECT_INVOCATION": "true"}
        done = runs.completed(command, runs.environment(REPLICATION_API_KEY=KEY, **shown))
        assert done.returncode == 0
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def api(pair, tmp_path_factory):
    opened = Api(pair, tmp_path_factory.mktemp("api"))
    opened.make_certificates()
    for host in HOSTS:
        pair.shell(f"rm {OWN_LISTENER}; systemctl reload dovecot", host)
    succeeded(opened.setup())
    yield opened
    for host in HOSTS:
        pair.lab.execute(host, "tee", OWN_LISTENER, stdin=API)
        pair.shell("systemctl reload dovecot", host)


def test_nothing_to_do_and_no_key_in_the_log(api):
    assert changes(succeeded(api.setup("--check", "--diff"))) == []
    for host in HOSTS:
        assert api.pair.shell(f"journalctl -q | grep -c {KEY}", host, check=False).stdout.strip() == "0"
        assert api.pair.shell("stat -c '%a %U' /etc/dovecot/replication-secret.conf.ext", host).stdout == "600 root\n"


@pytest.mark.rare
def test_status_and_resync(api):
    for check in ([], ["--check"]):
        handed = handed_over(succeeded(api.play("status", *check)))
        assert [handed["hosts"][host]["overview"]["known_users"] for host in HOSTS] == [len(EVERYONE)] * 2
        handed = handed_over(succeeded(api.play("resync", *check, replication_full=True)))
        assert [handed["hosts"][host]["requested"] for host in HOSTS] == [len(EVERYONE)] * 2
        assert [handed["hosts"][host]["synced"] for host in HOSTS] == ([0] * 2 if check else [len(EVERYONE)] * 2)


def test_the_key_is_never_shown(api):
    printed = api.print_of(f"{runs.COLLECTION}.status") + api.print_of(f"{runs.COLLECTION}.resync")
    assert "replication_result" in printed and '"api_key": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"' in printed
    for secret in (KEY, base64.b64encode(KEY.encode()).decode()):
        assert secret not in printed


@pytest.mark.rare
def test_jobs_of_awx(api, tmp_path):
    """As those of test_awx.py, with a credential for the API alone."""
    hosts = {host: {"ansible_host": address, "ansible_port": 1} for host, address in api.addresses.items()}
    controller = Controller(tmp_path, hosts, {"Doveadm API of mx": {"api_key": KEY, "ca": api.ca_file.read_text()}})
    job = controller.launch("Replication - status over the API", verbosity=4)
    assert job.status == "successful", job.output
    assert job.artifacts["replication_result"]["hosts"][MX1]["overview"]["known_users"] == len(EVERYONE)
    job = controller.launch("Replication - resync over the API", verbosity=4, replication_user_mask=ALICE)
    assert job.status == "successful", job.output
    assert job.artifacts["replication_result"]["hosts"][MX2]["synced"] == 1
    for job in controller.jobs:
        assert job.showing([KEY, base64.b64encode(KEY.encode()).decode()]) == []


@pytest.mark.rare
def test_the_playbook_of_the_documentation(api, tmp_path):
    """Word for word, in check mode as well, and with someone who is not on the list."""
    playbook = tmp_path / "replicate.yml"
    playbook.write_text(re.search(r"```yaml\n(- name: .*?)```", DOCS.read_text(), re.S)[1])
    for host in HOSTS:
        api.pair.agent(host).module("replicator_user", users=[ALICE], state="absent")
    options = ["-i", str(api.inventory), "-e", '{"mailboxes_to_replicate": ["alice@example.org"]}']
    announced, done, again = (
        succeeded(
            runs.play(api.pair.lab, INVENTORY, playbook, *options, *check, REPLICATION_API_KEY=KEY),
        )
        for check in (["--check"], [], [])
    )
    assert changes(announced) and changes(done) and not changes(again)
    (compared, *others) = [line["status"] for line in done if line["task"] == "Compare them"]
    assert (compared, others) == ("ok", ["ok"])


@pytest.mark.parametrize(
    "change, words",
    [
        ({"key": "wrong"}, "401"),
        ({"replication_api_ca_file": "/etc/ssl/certs"}, "ca_path does not vouch for the certificate"),
        ({"replication_api_url": "http://{address}:8443"}, "Asking http://"),
        ({"replication_api_url": "https://{address}:8444"}, "check that Dovecot runs"),
    ],
    ids=["key", "authority", "no TLS", "port"],
)
def test_who_is_not_let_in(api, change, words):
    """Both hosts are asked all the same, and each tells what is wrong."""
    change = {name: value.format(address=api.addresses[MX1]) for name, value in change.items()}
    results = api.play("status", **change)
    handed = handed_over(results)
    assert [words in handed["hosts"][host]["message"] for host in HOSTS] == [True, True]
    assert KEY not in str(results)


def test_what_needs_ssh_says_so(api):
    handed = handed_over(api.play("verify"))
    assert {host["message"].split(". ")[-1] for host in handed["hosts"].values()} == {
        "This playbook does not go by replication_api_url, it needs ssh."
    }


def test_the_key_is_good_for_what_it_is_needed_for(api):
    """Syncs work all the same. And without TLS, as it may be for the host itself."""
    alone = {"replication_api_tls": False, "replication_api_listen": ["127.0.0.1"]}
    succeeded(api.setup(replication_hosts=MX1, replication_api_commands=["replicator status"], **alone))
    assert api.pair.shell(f"ss -Hltn sport = :{PORT} | awk '{{print $4}}'").stdout == f"127.0.0.1:{PORT}\n"
    access = {"api_url": f"http://127.0.0.1:{PORT}", "api_key": KEY}
    agent = api.pair.agent()
    assert agent.module("replicator_info", gather=["overview"], **access)["overview"]
    for refused in (
        agent.module("mailbox_info", users=[ALICE], **access),
        agent.module("replicator_replicate", users=[ALICE], **access),
    ):
        assert refused["failed"] and "doveadm_allowed_commands leaves it out" in refused["msg"]
    token = api.pair.deliver(ALICE)
    assert api.pair.arrived(ALICE, token) is not None


def test_a_listener_that_gets_in_the_way_is_named(api):
    with api.pair.replaced({OWN_LISTENER: API}, [MX1]):
        (message,) = failures(api.setup("--check", replication_hosts=MX1))
    assert f"{OWN_LISTENER} line 4 sets service/doveadm/inet_listener/http/port" in message
    assert f"{OWN_LISTENER} line 7 sets doveadm_api_key" in message


def test_it_is_closed_when_it_is_no_longer_asked_for(api):
    """By the way back, and by a setup without it."""

    def is_gone(host):
        assert f":{PORT} " not in api.pair.shell("ss -Hltn", host).stdout
        assert api.pair.shell("doveconf -nP | grep -c api", host, check=False).stdout.strip() == "0"
        assert api.pair.shell(f"grep -rl {KEY} /etc/dovecot", host, check=False).stdout == ""

    succeeded(api.setup(replication_hosts=MX2, replication_state="absent"))
    is_gone(MX2)
    succeeded(api.pair.play("setup"))
    is_gone(MX1)
