# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role monitoring on live hosts: what it tells when, whom it lets do what, and that it goes without a trace."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
import venv

import pytest
import runs
import yaml
from conftest import API_KEY, EVERYONE, HOSTS, INVENTORY, MX1, MX2
from lab import LabError, install_packages
from runs import changes, failures, findings_of, succeeded

pytestmark = pytest.mark.parametrize("pair", ["bookworm"], indirect=True)

ALICE = "alice@example.org"
COLLECTOR = "/usr/local/bin/dovecot_replication_check"
METRICS = "/var/lib/prometheus/node-exporter/dovecot_replicator.prom"
VERIFIED = "/var/lib/prometheus/node-exporter/dovecot_replication.prom"
STATE = "/var/lib/dovecot-replication-monitoring"
RECEIVED = "/var/tmp/received"
PLAY = """
- hosts: dovecot_replication
  gather_facts: false
  become: true
  roles:
    - role: mailops.dovecot_replication.monitoring
"""
# Takes mails as sendmail does.
TAKER = f"printf '#!/bin/sh\\ncat >> {RECEIVED}\\n' > /usr/sbin/sendmail"
SENDMAIL = f"rm -f /usr/sbin/sendmail; {TAKER}; chmod 755 /usr/sbin/sendmail"
# Has the collector remember that a user has failed for 15 minutes.
PAST_FAILURES = f"""
import importlib.machinery, time
collector = importlib.machinery.SourceFileLoader("collector", "{COLLECTOR}").load_module()
for minute in range(1, 17):
    before = collector.Snapshot(time=int(time.time()) - 60 * minute, up=True, known=4, failing=1)
    collector.remember("{STATE}/history", before)
"""
# A host is watched for itself.
ON_ONE = ["--limit", MX1]
UNCHANGED = ["proc/*", "sys/*", "run/*", "tmp/*", "var/tmp*", "var/log/*", "srv/*", "var/lib/dovecot/*", "root/*"]
CHANGED_FILES = "find / -xdev -newer /var/tmp/before " + " ".join(f"! -path '/{path}'" for path in UNCHANGED)
RULES = runs.ROOT / "extensions" / "monitoring" / "rules.yml"
RULES_TEST = RULES.with_name("rules_test.yml")
# Prometheus, which scrapes node_exporter each second, and Alertmanager with a receiver that writes down what it gets.
PROMETHEUS = """
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
alerting: {alertmanagers: [{static_configs: [{targets: ["127.0.0.1:9093"]}]}]}
scrape_configs:
  - job_name: node
    static_configs: [{targets: ["127.0.0.1:9100"]}]
"""
ALERTMANAGER = """
route: {receiver: file, group_wait: 1s, group_interval: 1s, group_by: [alertname]}
receivers:
  - name: file
    webhook_configs:
      - {url: "http://127.0.0.1:9999/", send_resolved: true}
      - {url: "http://127.0.0.1:5000/endpoint", send_resolved: false}
"""
# Nagios with the check as docs/howto/monitor.md has it, for which a minute is a second.
NAGIOS = """
log_file=/var/tmp/nagios/log
cfg_file=/var/tmp/nagios/objects.cfg
object_cache_file=/var/tmp/nagios/objects.cache
status_file=/var/tmp/nagios/status
status_update_interval=1
check_result_path=/var/tmp/nagios
temp_path=/var/tmp/nagios
lock_file=/var/tmp/nagios/pid
command_file=/var/tmp/nagios/commands
nagios_user=nagios
nagios_group=nagios
interval_length=1
enable_notifications=1
execute_service_checks=1
"""
NAGIOS_OBJECTS = f"""
define timeperiod {{
  timeperiod_name always
  alias           always
  monday          00:00-24:00
  tuesday         00:00-24:00
  wednesday       00:00-24:00
  thursday        00:00-24:00
  friday          00:00-24:00
  saturday        00:00-24:00
  sunday          00:00-24:00
}}
define command {{
  command_name check_dovecot_replication
  command_line {COLLECTOR} --check
}}
define command {{
  command_name tell
  command_line echo '$NOTIFICATIONTYPE$ $SERVICESTATE$: $SERVICEOUTPUT$' >> {RECEIVED}
}}
define contact {{
  contact_name                  someone
  host_notification_period      always
  service_notification_period   always
  host_notification_options     n
  service_notification_options  w,u,c,r
  host_notification_commands    tell
  service_notification_commands tell
}}
define host {{
  host_name          {MX1}
  address            127.0.0.1
  max_check_attempts 1
  contacts           someone
}}
define service {{
  host_name             {MX1}
  service_description   Dovecot replication
  check_command         check_dovecot_replication
  check_interval        1
  retry_interval        1
  max_check_attempts    15
  notification_interval 0
  notification_period   always
  check_period          always
  contacts              someone
}}
"""
RECEIVER = f"""
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with open("{RECEIVED}", "a") as stream:
            for alert in body["alerts"]:
                stream.write(alert["labels"]["alertname"] + " " + alert["status"] + "\\n")
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 9999), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    path = tmp_path_factory.mktemp("monitoring") / "monitoring.yml"
    path.write_text(PLAY)
    return path


def monitor(pair, play, *options, **variables):
    return runs.play(pair.lab, INVENTORY, play, *options, "-e", json.dumps(variables))


@pytest.fixture(scope="module")
def monitored(pair, play):
    """The pair is watched from the first test that wants it on."""
    succeeded(monitor(pair, play))
    yield
    succeeded(monitor(pair, play, monitoring_state="absent"))


@pytest.fixture
def watched(monitored, tidied):
    return tidied


def ask(pair, *options, host=MX1):
    """Read the replicator anew; return what the collector answers then, and its exit code."""
    pair.shell("systemctl start dovecot-replication-monitoring.service", host)
    done = pair.lab.execute(host, COLLECTOR, *options, check=False)
    return done.stdout, done.returncode


def metric(pair, name, host=MX1):
    """The value of a metric without labels, None without it."""
    lines = [line.split() for line in pair.shell(f"cat {METRICS}", host).stdout.splitlines()]
    return next((float(words[1]) for words in lines if words[0] == name), None)


@pytest.mark.rare
def test_it_comes_and_goes(tidied, play):
    pair = tidied
    pair.shell("touch /var/tmp/before; sleep 1.1")
    foreseen = changes(succeeded(monitor(pair, play, *ON_ONE, "--check", "--diff")))
    assert pair.shell(CHANGED_FILES + " ! -type d").stdout == "" and foreseen
    done = succeeded(monitor(pair, play, *ON_ONE, "--diff"))
    assert set(foreseen) <= set(changes(done))
    assert changes(succeeded(monitor(pair, play, *ON_ONE))) == []
    answer, code = ask(pair, "--check")
    assert code == 0 and answer.startswith("OK - 4 users, none fails") and "failing=0;" in answer
    assert metric(pair, "dovecot_replicator_up") == 1 and metric(pair, "dovecot_replicator_known_users") == 4
    assert abs(metric(pair, "dovecot_replicator_collected_timestamp_seconds") - time.time()) < 60
    # Anybody may ask what was learned last.
    asked = pair.shell(f"runuser -u nobody -- {COLLECTOR} --json").stdout
    assert json.loads(asked)["up"] and "example.org" not in asked
    foreseen = changes(succeeded(monitor(pair, play, *ON_ONE, "--check", monitoring_state="absent")))
    gone = changes(succeeded(monitor(pair, play, *ON_ONE, monitoring_state="absent")))
    assert set(foreseen) <= set(gone)
    assert changes(succeeded(monitor(pair, play, *ON_ONE, monitoring_state="absent"))) == []
    assert "dovecot-replication" not in pair.shell(CHANGED_FILES).stdout
    assert "dovecot-replication" not in pair.shell("systemctl list-units --all --plain").stdout


def test_a_user_of_its_own_who_may_do_nothing_else(tidied, play):
    pair = tidied
    own = {"monitoring_user": "dovecot-monitoring"}
    refused = failures(monitor(pair, play, *ON_ONE, **own))
    cure = 'replication_doveadm_socket: {mode: "0660", group: dovecot-monitoring}'
    assert len(refused) == 1 and f"`{cure}`" in refused[0]
    socket = {"mode": "0660", "group": "dovecot-monitoring"}
    succeeded(pair.play("setup", *ON_ONE, replication_doveadm_socket=socket))
    succeeded(monitor(pair, play, *ON_ONE, **own))
    assert ask(pair, "--check")[1] == 0
    as_user = "runuser -u dovecot-monitoring --"
    assert pair.shell(f"{as_user} ls /srv/vmail/alice@example.org", check=False).returncode != 0
    assert pair.shell(f"{as_user} cat /etc/dovecot/replication-secret.conf.ext", check=False).returncode != 0
    succeeded(monitor(pair, play, *ON_ONE, monitoring_state="absent", **own))
    succeeded(pair.play("setup"))


def test_what_is_told_when(watched):
    pair = watched
    with pair.stopped(MX2):
        pair.module("replicator_replicate", users=[ALICE], priority="high")
        time.sleep(1)
        answer, code = ask(pair, "--check")
        assert code == 1 and "The syncs of users fail: 1 of 4 users" in answer and "|" in answer
        # New changes hide the failure from Dovecot's own counters.
        pair.module("replicator_replicate", users=[ALICE], priority="low")
        answer, code = ask(pair, "--checkmk")
        assert code == 0 and answer.startswith("1 Dovecot_replication failing=1;") and ALICE not in answer
        assert metric(pair, "dovecot_replicator_failing_users") == 1
        assert ask(pair, "--check", host=MX2) == (ask(pair, "--check", host=MX2)[0], 3)
        assert metric(pair, "dovecot_replicator_up", MX2) == 0
        assert metric(pair, "dovecot_replicator_failing_users", MX2) is None
        told = json.loads(ask(pair, "--json", host=MX2)[0])
        assert told["state"] == "UNKNOWN" and "Connecting to" in told["problem"] and "failing" not in told
    pair.tidy()
    assert ask(pair, "--check")[1] == 0
    pair.shell(f"systemctl stop dovecot-replication-monitoring.timer; sed -i 's/\"time\": /&1/' {STATE}/last.json")
    pair.shell(f'sed -i \'s/"time": 1/"time": /; s/"time": 1/"time": /\' {STATE}/last.json')
    done = pair.lab.execute(MX1, COLLECTOR, "--check", check=False)
    assert done.returncode == 3 and "systemctl status dovecot-replication-monitoring.timer" in done.stdout
    pair.shell("systemctl start dovecot-replication-monitoring.timer")


@pytest.mark.rare
def test_a_mail_to_a_person_and_what_is_remembered(watched, play, tmp_path):
    """It is sent when users have failed for as long as the alert waits, and once more when all is well again."""
    pair = watched
    pair.shell(f"rm -f {RECEIVED}; {SENDMAIL}")
    succeeded(monitor(pair, play, "--limit", MX1, monitoring_mail_to="root@example.org"))
    with pair.stopped(MX2):
        pair.module("replicator_replicate", users=[ALICE], priority="high")
        time.sleep(1)
        ask(pair)
        assert pair.shell(f"test -e {RECEIVED}", check=False).returncode
        pair.lab.execute(MX1, "python3", "-", stdin=PAST_FAILURES)
        ask(pair)
        received(pair, f"Subject: replication on {MX1}: DovecotReplicationUsersFailing")
    pair.tidy()
    ask(pair)
    received(pair, f"Subject: replication on {MX1}: all is well again")
    assert pair.shell(f"grep -c Subject {RECEIVED}").stdout.strip() == "2"
    pair.shell("rm /usr/sbin/sendmail")
    succeeded(monitor(pair, play, "--limit", MX1))
    state = pair.shell("systemctl is-active dovecot-replication-mail.path 2>&1; true").stdout
    assert state.strip() == "inactive"
    # The page draws what the host remembers, and verify leaves what it found where node_exporter reads it.
    page = tmp_path / "page.html"
    succeeded(pair.play("report", replication_report_file=str(page)))
    assert "Failing users: 0 now, at most 1" in page.read_text()
    succeeded(pair.play("verify", replication_probe_user=ALICE))
    left = pair.shell(f"cat {VERIFIED}").stdout
    assert (
        'dovecot_replication_probe_seconds{direction="to_peer"}' in left and "dovecot_replicator_userdb_users 4" in left
    )
    assert 'dovecot_replication_finding{id="users_failing",severity="error"} 0' in left


def test_the_rules_for_prometheus(pair):
    """By Debian's promtool: the rules are right, and each alert fires in its scenario, and only there."""
    folder = "/var/tmp/promtool"
    pair.shell(f"mkdir -p {folder}; cd {folder}; test -e usr || (apt-get download -qq prometheus; dpkg -x *.deb .)")
    for path in (RULES, RULES_TEST):
        pair.lab.execute(MX1, "tee", f"{folder}/{path.name}", stdin=path.read_text())
    promtool = f"cd {folder} && usr/bin/promtool"
    assert "13 rules found" in pair.shell(f"{promtool} check rules {RULES.name} 2>&1").stdout
    assert "SUCCESS" in pair.shell(f"{promtool} test rules {RULES_TEST.name} 2>&1").stdout
    rules = RULES.read_text()
    pair.lab.execute(
        MX1, "tee", f"{folder}/{RULES.name}", stdin=rules.replace("failing_users > 0", "failing_users > 40")
    )
    broken = pair.shell(f"{promtool} test rules {RULES_TEST.name} 2>&1", check=False)
    assert broken.returncode and "DovecotReplicationUsersFailing" in broken.stdout


@pytest.fixture(params=["quick"])
def prometheus(watched, request):
    """The pair with the real parts on its first host; where they are quick, each alert waits for a few seconds only."""
    pair = watched
    packages = "prometheus prometheus-alertmanager prometheus-node-exporter"
    pair.shell(f"DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends {packages} > /dev/null")
    quick = "".join(
        line if "for: " not in line or request.param != "quick" else line.partition(":")[0] + ": 3s\n"
        for line in RULES.read_text().splitlines(keepends=True)
    )
    files = {"prometheus.yml": PROMETHEUS, "alertmanager.yml": ALERTMANAGER, "rules.yml": quick}
    for name, text in files.items():
        pair.lab.execute(MX1, "tee", f"/etc/prometheus/{name}", stdin=text)
    pair.lab.execute(MX1, "tee", "/var/tmp/receiver.py", stdin=RECEIVER)
    pair.shell(
        f"rm -f {RECEIVED}; systemd-run -q --collect --unit receiver python3 /var/tmp/receiver.py; "
        "systemctl restart prometheus prometheus-alertmanager prometheus-node-exporter"
    )
    yield pair
    pair.shell("systemctl stop receiver prometheus prometheus-alertmanager prometheus-node-exporter", check=False)


def received(pair, line, seconds=60):
    """Whether the receiver gets a line; the seconds that it took."""
    began = time.monotonic()
    done = pair.shell(
        f"timeout {seconds} sh -c 'until grep -qs \"^{line}\" {RECEIVED}; do sleep 0.2; done'", check=False
    )
    assert done.returncode == 0, pair.shell(f"cat {RECEIVED}", check=False).stdout
    return time.monotonic() - began


@pytest.mark.torture
def test_from_the_fault_to_the_alert_and_back(prometheus, rulebook):
    """Peer down, alert, a rulebook has `verify` name the cause, an alert of that; peer back, all resolved by itself."""
    pair = prometheus
    assert findings_of(succeeded(pair.play("verify", replication_probe_user=ALICE))) == []
    with rulebook(pair, "alertmanager") as book, tunnel(pair, 5000), often(pair):
        with pair.stopped(MX2):
            pair.module("replicator_replicate", users=[ALICE], priority="high")
            fired = received(pair, "DovecotReplicationUsersFailing firing")
            verified = book.shown("peer_unreachable")
            named = received(pair, "DovecotReplicationFinding firing")
        succeeded(pair.play("resync"))
        resolved = received(pair, "DovecotReplicationUsersFailing resolved", 900)
        ended = received(pair, "DovecotReplicationFinding resolved")
    print(
        f"fired after {fired:.0f} s, verified after {verified:.0f} s, finding {named:.0f} s, "
        f"resolved {resolved:.0f} s, finding {ended:.0f} s"
    )
    told = set(pair.shell(f"cut -d ' ' -f 1 {RECEIVED}").stdout.split())
    assert told <= {"DovecotReplicationUsersFailing", "DovecotReplicationFinding"}


@contextlib.contextmanager
def often(pair):
    """The collector runs each second, not each minute."""
    each_second = "while sleep 1; do systemctl start dovecot-replication-monitoring.service; done"
    pair.shell(f"systemd-run -q --collect --unit often sh -c '{each_second}'")
    try:
        yield
    finally:
        pair.shell("systemctl stop often")


@contextlib.contextmanager
def tunnel(pair, port):
    """What connects to a port of the first host's loopback reaches that of ours."""
    variables = yaml.safe_load(pair.lab.inventory.read_text())["all"]
    command = [
        *["ssh", "-N", "-i", variables["vars"]["ansible_ssh_private_key_file"]],
        *variables["vars"]["ansible_ssh_common_args"].split(),
        *["-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{port}:127.0.0.1:{port}"],
        *["-p", str(variables["hosts"][MX1]["ansible_port"]), "root@127.0.0.1"],
    ]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def nagios(watched):
    """Nagios on the first host, with the plugin and somebody to tell."""
    pair = watched
    pair.shell("DEBIAN_FRONTEND=noninteractive apt-get install -qqy --no-install-recommends nagios4-core > /dev/null")
    pair.shell(f"systemctl stop nagios4; rm -rf {RECEIVED} /var/tmp/nagios; install -d -o nagios /var/tmp/nagios")
    pair.shell(f"install -o nagios /dev/null {RECEIVED}")
    for name, text in {"nagios.cfg": NAGIOS, "objects.cfg": NAGIOS_OBJECTS}.items():
        pair.lab.execute(MX1, "tee", f"/var/tmp/nagios/{name}", stdin=text)
    pair.shell("nagios4 -v /var/tmp/nagios/nagios.cfg")
    pair.shell("systemd-run -q --collect --unit nagios-here nagios4 /var/tmp/nagios/nagios.cfg")
    yield pair
    pair.shell("systemctl stop nagios-here; rm -rf /var/tmp/nagios")


@pytest.mark.torture
def test_nagios(nagios):
    """It tells of a user who fails, and of a replicator that does not answer, and of the end of each."""
    pair = nagios

    def state(pattern):
        """Wait until Nagios has the service in a state."""
        asked = f"timeout 60 sh -c 'until grep -qs \"{pattern}\" /var/tmp/nagios/status; do sleep 0.2; done'"
        assert pair.shell(asked, check=False).returncode == 0, pair.shell("cat /var/tmp/nagios/status").stdout

    with often(pair):
        state("plugin_output=OK - 4 users, none fails")
        state("performance_data=failing=0;0;1;0;4")
        with pair.stopped(MX2):
            pair.module("replicator_replicate", users=[ALICE], priority="high")
            failing = received(pair, "PROBLEM WARNING: WARNING - The syncs of users fail: 1 of 4 users")
        succeeded(pair.play("resync"))
        well = received(pair, "RECOVERY OK: OK - 4 users, none fails")
        pair.shell(f"truncate --size 0 {RECEIVED}")
        with pair.stopped(MX1):
            silent = received(pair, "PROBLEM UNKNOWN: UNKNOWN - ")
        received(pair, "RECOVERY OK: OK - 4 users, none fails")
    print(f"told after {failing:.0f} s and {silent:.0f} s, recovered after {well:.0f} s")


# What happens to a pair that is in order, and for how many seconds.
ORDINARY = [("mail to both hosts", 600), ("a restart of both hosts", 90), ("a drain", 90), ("a failover", 120)]


@pytest.mark.torture
@pytest.mark.parametrize("prometheus", ["as they are"], indirect=True)
def test_no_false_alarm(prometheus):
    """Under load, at a restart, on hold and with a peer that is down for two minutes nothing is told but what is so."""
    pair = prometheus
    stop, delivered = threading.Event(), []

    def deliver(host):
        for number in itertools.count():
            if stop.wait(0.5):
                break
            with contextlib.suppress(LabError):
                pair.deliver(EVERYONE[number % 2 if host == MX1 else 2 + number % 2], host)
                delivered.append(host)

    def firing():
        """The alerts that are pending or firing, by name."""
        answer = pair.shell(
            'python3 -c "import urllib.request; print(urllib.request.urlopen('
            "'http://127.0.0.1:9090/api/v1/alerts').read().decode())\""
        ).stdout
        return {(alert["labels"]["alertname"], alert["state"]) for alert in json.loads(answer)["data"]["alerts"]}

    threads = [threading.Thread(target=deliver, args=[host]) for host in HOSTS]
    for thread in threads:
        thread.start()
    seen = {}
    try:
        succeeded(pair.play("verify", replication_probe_user=ALICE))
        for what, seconds in ORDINARY:
            begun = time.monotonic()
            if what.startswith("a restart"):
                for host in HOSTS:
                    pair.shell("systemctl restart dovecot", host)
            if what == "a drain":
                succeeded(pair.play("drain"))
            with pair.stopped(MX2) if what == "a failover" else contextlib.nullcontext():
                while time.monotonic() - begun < seconds:
                    seen.setdefault(what, set()).update(firing())
                    time.sleep(5)
            if what == "a drain":
                succeeded(pair.play("drain", replication_hold=False))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(len(delivered), {what: sorted(alerts) for what, alerts in seen.items()})
    assert not {alert for alerts in seen.values() for alert in alerts if alert[1] == "firing"}
    assert pair.shell(f"cat {RECEIVED}", check=False).stdout == ""


RULEBOOK = "ansible-rulebook==1.3.2"


class Rulebook:
    """A rulebook that runs; ``log`` is the file with what it shows."""

    def __init__(self, process, log):
        self._process = process
        self.log = log

    def shown(self, text, times=1, seconds=120):
        """Wait until it shows a text so many times; return the seconds that it took."""
        began = time.monotonic()
        while self.log.read_text().count(text) < times:
            assert self._process.poll() is None and time.monotonic() - began < seconds, self.log.read_text()[-5000:]
            time.sleep(0.2)
        return time.monotonic() - began


@pytest.fixture
def rulebook(tmp_path):
    """Runs a rulebook of ours by ansible-rulebook, in an environment of its own, with the Java that it needs."""
    place = runs.ROOT / ".build" / "rulebook"
    if not shutil.which("java"):
        install_packages(["openjdk-17-jre-headless"], "ansible-rulebook needs Java: install openjdk-17-jre-headless.")
    if not (place / "bin" / "ansible-rulebook").exists():
        venv.create(place, with_pip=True)
        packages = [RULEBOOK, "ansible-runner", "ansible-core"]
        subprocess.run([place / "bin" / "pip", "install", "--quiet", *packages], check=True)
    environment = {
        **os.environ,
        "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_COLLECTIONS_PATH": str(runs.ROOT / ".venv" / "collections"),
        "ANSIBLE_HOST_KEY_CHECKING": "false",
    }

    @contextlib.contextmanager
    def run(pair, name, **variables):
        (tmp_path / "vars.yml").write_text(json.dumps(variables))
        inventory = tmp_path / "inventory"
        inventory.mkdir()
        for source in (INVENTORY, pair.lab.inventory):
            shutil.copy(source, inventory / f"{source.parent.name}-{source.name}")
        command = [
            *[place / "bin" / "ansible-rulebook", "-i", inventory, "--vars", tmp_path / "vars.yml"],
            *["--rulebook", runs.ROOT / "extensions" / "eda" / "rulebooks" / f"{name}.yml"],
        ]
        log = tmp_path / "log"
        with open(log, "w") as stream:
            process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, cwd=tmp_path)
        try:
            yield Rulebook(process, log)
        finally:
            process.terminate()
            process.wait()

    return run


@pytest.mark.torture
def test_a_rulebook_verifies_a_pair_in_trouble(tidied, rulebook):
    """Peer stopped, event, `verify` names the cause; peer back, event, `verify` again. One host is never there."""
    pair = tidied
    place = pair.lab.engine(
        "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", pair.lab.container(MX1)
    ).stdout.strip()
    hosts = [
        {"name": "mx1", "url": f"http://{place}:8080", "pair": "dovecot_replication"},
        {"name": "gone", "url": "http://127.0.0.1:1", "pair": "dovecot_replication"},
    ]
    with rulebook(pair, "verify", api_hosts=hosts, api_key=API_KEY, delay=1) as book:
        book.shown("'host': 'gone'")
        with pair.stopped(MX2):
            pair.module("replicator_replicate", users=[ALICE], priority="high")
            event = book.shown("'state': 'failing'")
            verdict = book.shown("peer_unreachable")
        pair.tidy()
        well = book.shown("'state': 'ok'")
        book.shown("PLAY RECAP", times=2)
        print(f"event after {event:.0f} s, verify {verdict:.0f} s later, well again {well:.0f} s after the cure")
        assert API_KEY not in book.log.read_text()
