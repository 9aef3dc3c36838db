# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults in the middle of tasks: nobody is lost from the list, no configuration is left half written, Dovecot runs, and
the next run puts right what is left. docs/reliability.md has a row for each.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
import runs
from conftest import EVERYONE, INVENTORY, LEAST_LOADED, MX1, TRANSPORTS
from runs import changes, succeeded

ALICE, BOB = EVERYONE[:2]
CONFIG = "/etc/dovecot/conf.d/11-replication.conf"
KILL_REPLICATOR = "pkill -KILL -P $(cat /run/dovecot/master.pid) -x replicator"
MODULE_UTILS = f"ansible_collections.{runs.COLLECTION}.plugins.module_utils"

pytestmark = pytest.mark.parametrize("pair", [LEAST_LOADED], indirect=True)

# Has this process do something at the call number STEP of the functions named, counted together.
AT_STEP = """
import importlib, os, signal, subprocess, time
module, calls = os.getpid(), []
def planted(name):
    place, attribute = name.split("#")
    place, dummy, owner = place.partition("@")
    place = importlib.import_module(place)
    place = getattr(place, owner) if owner else place
    right = getattr(place, attribute)
    def counting(*args, **kwargs):
        if os.getpid() == module:
            calls.append(name)
            if len(calls) == {step}:
                {action}
        return right(*args, **kwargs)
    setattr(place, attribute, counting)
for name in {names}:
    planted(name)
"""


def at_step(step, names, action):
    return AT_STEP.format(step=step, names=names, action=action)


def dying(step, names, by):
    return at_step(step, names, f"os.kill(module, signal.{by}); time.sleep(9)")


def died(result):
    return result["failed"] and result["msg"] == "no result"


# --- Dovecot restarted while a task waits ---

RESTARTS = {
    "reload": "doveadm reload",
    "restart": "systemctl restart dovecot",
    "killed": KILL_REPLICATOR,
}
SOME = [("socket", "reload"), ("socket", "killed"), ("doveadm", "restart")]
ALL = [(transport, how) for transport in TRANSPORTS for how in RESTARTS]


@pytest.mark.parametrize(
    "transport, how",
    [pytest.param(*case, marks=[] if case in SOME else [pytest.mark.torture]) for case in ALL],
)
def test_a_wait_goes_on_when_dovecot_is_restarted(tidied, transport, how):
    """Its sync is running then and is broken off; it is asked for again, and the mail is there at the end."""
    token = tidied.save_unnoticed(ALICE)
    options = dict(transport=transport, **TRANSPORTS[transport])
    with tidied.silent(), tidied.later(1, RESTARTS[how]), tidied.wakes_up(4):
        result = tidied.agent().module(
            "replicator_replicate", users=[ALICE, BOB], wait=True, wait_timeout=60, **options
        )
    assert result["synced_users"] == [ALICE, BOB] and not result["failed"], result
    # Over HTTP nothing tells that an idle moment between two requests was a restart.
    assert result["restarts"] == 1 or transport == "http"
    assert tidied.arrived(ALICE, token, seconds=1) is not None


def test_a_full_sync_is_asked_for_again_in_full(tidied):
    """The replicator counts a sync from its start, so the broken-off one would otherwise do for a full one."""
    asked_again = "doveadm -f tab replicator dsync-status | tee /srv/slots | grep -q full"

    def reload_and_wake():
        tidied.is_syncing(ALICE)
        # A second later the answers are those of the new replicator.
        wait = f"timeout 20 sh -c 'until {asked_again}; do sleep 0.1; done'"
        tidied.shell(f"{RESTARTS['reload']}; sleep 1; {wait}", check=False)
        tidied.wake()

    fault = threading.Thread(target=reload_and_wake)
    with tidied.silent():
        fault.start()
        result = tidied.agent().module("replicator_replicate", users=[ALICE], full=True, wait=True, wait_timeout=60)
        fault.join()
    assert result["synced_users"] == [ALICE] and result["restarts"] == 1, result
    assert f"{ALICE}\tfull" in tidied.shell("cat /srv/slots").stdout


def test_dovecot_that_does_not_come_back(tidied):
    with tidied.silent(), tidied.later(1, "systemctl stop dovecot"):
        result = tidied.agent().module("replicator_replicate", users=[ALICE], wait=True, wait_timeout=6)
    gone = tidied.agent().module("replicator_wait", users=[ALICE], wait_timeout=30)
    tidied.shell("systemctl start dovecot")
    assert result["failed"] and result["pending_users"] == [ALICE] and result["elapsed"] >= 6
    assert "could not be asked any more" in result["msg"] and "start Dovecot" in result["msg"]
    assert gone["failed"] and "Dovecot is stopped" in gone["msg"], "one that was never there is not waited for"


# --- no network between the hosts ---


def test_the_network_cut_before_a_sync(tidied):
    """The connection is never made; it ends at the deadline, and the next run does what is left."""
    token = tidied.save_unnoticed(ALICE)
    with tidied.cut_off():
        result = tidied.agent().module("replicator_replicate", users=[ALICE, BOB], wait=True, wait_timeout=5)
        assert result["failed"] and result["pending_users"] == [ALICE, BOB], result
        assert "to which no network leads" in result["msg"], result["msg"]
        assert tidied.arrived(ALICE, token, seconds=0) is None
    again = tidied.agent().module("replicator_replicate", users=[ALICE, BOB], wait=True, wait_timeout=60)
    assert again["synced_users"] == [ALICE, BOB], again
    assert tidied.arrived(ALICE, token, seconds=1) is not None
    assert tidied.listed() == EVERYONE


def test_the_network_cut_in_the_middle_of_a_sync(tidied):
    """The connection is there and nothing comes over it any more; when the network is back the wait has its sync."""
    token = tidied.save_unnoticed(ALICE)
    with tidied.silent():
        tidied.agent().module("replicator_replicate", users=[ALICE], priority="high")
        assert tidied.shell("sleep 1; ss -Htn state established '( dport = :12345 )'").stdout.strip()
        with tidied.cut_off(), tidied.wakes_up(0):
            result = tidied.agent().module("replicator_wait", users=[ALICE], wait_timeout=5)
            assert result["failed"] and result["pending_users"] == [ALICE], result
    again = tidied.agent().module("replicator_replicate", users=[ALICE], wait=True, wait_timeout=120)
    assert again["synced_users"] == [ALICE], again
    assert tidied.arrived(ALICE, token, seconds=1) is not None


# --- the replicator killed, replaced, or with trouble of its own ---

MANY = [f"user{number:05}@x.org" for number in range(50000)]


GONE = "while test -e /run/still/master.pid; do sleep 0.1; done"
KILL_STILL = "subprocess.check_call(['sh', '-c', 'pkill -KILL -P $(cat /run/still/master.pid) -x replicator'])"


@pytest.fixture
def fifty_thousand(still):
    still.have_users(dict.fromkeys(MANY, ""))
    still.module("replicator_user", user_mask="*")
    # What a kill takes back is what Dovecot had not saved; a reload saves it.
    still.agent.shell(f"doveadm -c {still.CONFIG} reload; sleep 1")
    yield still
    still.have_users({"someone": ""})


def known(still):
    """How many users the replicator has, once it has read its list again."""
    deadline = time.monotonic() + 60
    while True:
        info = still.module("replicator_info", gather=["overview"])
        users = 0 if info["failed"] else info["overview"]["known_users"]
        if users >= len(MANY) or time.monotonic() > deadline:
            return users
        time.sleep(0.1)


def test_the_replicator_killed_in_the_middle_of_a_long_answer(fifty_thousand):
    """A part of the list is never taken for all of it, even where the rest is to be removed."""
    still = fifty_thousand
    fault = at_step(4, [f"{MODULE_UTILS}._common.line_socket@LineSocket#_receive"], KILL_STILL)
    for name, options in {
        "replicator_user": dict(users=MANY[:10], exclusive=True, check_userdb=False),
        "replicator_info": dict(user_mask="*"),
        "replicator_replicate": dict(user_mask="*"),
    }.items():
        result = still.module(name, fault=fault, **options)
        assert result["failed"] and "closed the connection during STATUS" in result["msg"], result
        assert "Dovecot's log" in result["msg"]
        assert known(still) >= len(MANY)


def test_the_replicator_killed_between_two_commands(fifty_thousand):
    still = fifty_thousand
    new = [f"new{number:03}@x.org" for number in range(200)]
    fault = at_step(150, [f"{MODULE_UTILS}._replicator.socket_client@SocketClient#_command"], KILL_STILL)
    result = still.module("replicator_user", users=new, check_userdb=False, fault=fault)
    assert result["failed"] and "closed the connection during REPLICATE" in result["msg"], result
    assert known(still) >= len(MANY)
    again = still.module("replicator_user", users=new, check_userdb=False)
    assert not again["failed"] and again["changed"] and set(again["added"]) <= set(new)
    assert still.module("replicator_user", users=new, check_userdb=False)["changed"] is False


FULL_STEPS = [
    f"{MODULE_UTILS}._common.guard@Guard#watch",
    f"{MODULE_UTILS}._replicator.socket_client@SocketClient#_command",
    f"{MODULE_UTILS}._common.guard@Guard#release",
    f"{MODULE_UTILS}._common.guard@Guard#close",
]


def is_listed(still, name, seconds=15):
    deadline = time.monotonic() + seconds
    while True:
        info = still.module("replicator_info", users=[name], gather=["users"])
        if not info["failed"] and info["users"]:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


@pytest.mark.parametrize("by", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.torture)])
@pytest.mark.rare
def test_killed_at_each_step_of_a_full_sync(still, by):
    """The userdb lacks these users, so nothing but the task or its guard can have put them back."""
    names = ["one@x.org", "two@x.org"]
    for step in range(1, 20):
        still.module("replicator_user", users=names, check_userdb=False)
        result = still.module(
            "replicator_replicate", users=names, full=True, check_userdb=False, fault=dying(step, FULL_STEPS, by)
        )
        assert all(is_listed(still, name) for name in names), step
        if not died(result):
            break
    assert step == 10 and not result["failed"], (step, result)


def test_the_replicator_killed_in_the_middle_of_a_full_sync(still):
    """Between REMOVE and REPLICATE: the guard waits until it is back."""
    still.have_users({"someone": ""})
    names = ["one@x.org"]
    still.module("replicator_user", users=names, check_userdb=False)
    fault = at_step(2, [f"{MODULE_UTILS}._replicator.socket_client@SocketClient#_command"], KILL_STILL)
    result = still.module("replicator_replicate", users=names, full=True, check_userdb=False, fault=fault)
    assert result["failed"] and "closed the connection" in result["msg"]
    assert is_listed(still, *names)


def test_the_connection_cut_in_the_middle_of_a_full_sync_for_good(still):
    """Dovecot is stopped between REMOVE and REPLICATE, and the guard gives up; the user is named, with the way back."""
    still.have_users({"someone": ""})
    names = ["one@x.org", "two words@x.org"]
    still.module("replicator_user", users=names, check_userdb=False)
    stop = f"subprocess.check_call(['sh', '-c', 'doveadm -c {still.CONFIG} stop; {GONE}'])"
    # The calls: REMOVE and REPLICATE of the first, REMOVE and REPLICATE of the second.
    fault = at_step(4, [f"{MODULE_UTILS}._replicator.socket_client@SocketClient#_command"], stop)
    fault = f"import {MODULE_UTILS}._common.guard as g; g.PERSISTENCE = 2\n{fault}"
    try:
        result = still.module("replicator_replicate", users=names, full=True, check_userdb=False, fault=fault)
    finally:
        still.agent.shell(f"dovecot -c {still.CONFIG} > /dev/null 2>&1")
    assert result["failed"] and "closed the connection during REPLICATE" in result["msg"], result
    assert "two words@x.org may be off the list" in result["msg"] and "one@x.org may" not in result["msg"]
    (command,) = re.findall(r"`(doveadm replicator replicate .*)`", result["msg"])
    assert not is_listed(still, names[1], seconds=0)
    still.agent.shell(command.replace("doveadm", f"doveadm -c {still.CONFIG}", 1))
    assert is_listed(still, names[1])


def test_the_socket_replaced(still):
    """By nothing, by a file, by one at which nobody listens, by another service's, by one that says nothing."""
    socket = "/run/still/replicator-doveadm"
    serve = "python3 -c \"import socket,time; s=socket.socket(socket.AF_UNIX); s.bind('%s'); s.listen(); %s\""
    still.agent.shell(f"mv {socket} {socket}.real")
    try:
        for replace, words in {
            "true": "No such file",
            f"touch {socket}": "Connection refused",
            f"ln -s /run/still/auth-userdb {socket}": "another service's",
            serve % (socket, "") + "": "Connection refused",
        }.items():
            still.agent.shell(f"rm -f {socket}; {replace}")
            for name, options in {"replicator_info": {}, "replicator_user": dict(user_mask="*")}.items():
                result = still.module(name, timeout=2, **options)
                assert result["failed"] and words in result["msg"] and "Next step" in result["msg"], result
    finally:
        still.agent.shell(f"rm -f {socket}; mv {socket}.real {socket}")
    assert not still.module("replicator_info")["failed"]


@contextlib.contextmanager
def full_disk(still, directory):
    """A small file system, of which nothing is left. /dev/shm is one of its own in the lab's hosts."""
    still.agent.shell(f"mkdir -p {directory}; head -c 1G /dev/zero > /dev/shm/filling 2>/dev/null || true")
    try:
        yield
    finally:
        still.agent.shell("rm -f /dev/shm/filling")


def test_the_disk_of_the_state_directory_full(still):
    """The replicator goes on in memory; nothing fails, and when there is room again it saves everything."""
    names = [f"user{number:05}@x.org" for number in range(3000)]
    state = "/dev/shm/state"
    reload = f"doveadm -c {still.CONFIG} reload; sleep 1"
    still.have_users({name: "" for name in names})
    still.agent.shell(f"mkdir -p {state}; sed -i 's|^state_dir.*|state_dir = {state}|' {still.CONFIG}; {reload}")
    try:
        with full_disk(still, state):
            result = still.module("replicator_user", user_mask="*")
            assert not result["failed"] and still.module("replicator_user", user_mask="*")["changed"] is False
            assert not still.module("replicator_replicate", user_mask="*", priority="high")["failed"]
            still.agent.shell(reload)
            assert still.module("replicator_info", gather=["overview"])["overview"]["known_users"] >= len(names)
            assert "No space left" in still.agent.shell(f"cat {still.HOME}/log")
        still.module("replicator_user", user_mask="*")
        still.agent.shell(reload)
        assert int(still.agent.shell(f"wc -l < {state}/replicator.db")) >= len(names)
    finally:
        still.agent.shell(f"sed -i 's|^state_dir.*|state_dir = {still.HOME}/state|' {still.CONFIG}; {reload}")
        still.agent.shell(f"rm -rf {state}")
        still.have_users({"someone": ""})


@pytest.mark.parametrize("transport", ["socket", "doveadm"])
def test_the_clock_set_back(still, transport):
    """The times that Dovecot has saved are then in the future."""
    ahead = int(time.time()) + 86400
    name = "someone"
    row = "\\t".join([name, "0", *[str(ahead)] * 3, "0", "", str(ahead)])
    database = f"{still.HOME}/state/replicator.db"
    start = f"dovecot -c {still.CONFIG} > /dev/null 2>&1"
    still.agent.shell(f"doveadm -c {still.CONFIG} stop; {GONE}; printf '{row}\\n' > {database}; {start}")
    (user,) = still.module("replicator_info", users=[name], gather=["users"], transport=transport)["users"]
    assert user["fast_sync_age"] == 0 and user["successful_sync_age"] is None
    result = still.module("replicator_replicate", users=[name], max_age="1h", transport=transport)
    assert result["requested"] == [name], "a success of the future proves nothing"
    assert still.module("replicator_user", users=[name], transport=transport)["changed"] is False


# --- files of the configuration ---

WRITE_STEPS = [
    *["os#rename", "os#link", "os#fsync", "tempfile#mkstemp"],
    *[f"{MODULE_UTILS}._config.files@Swap#{name}" for name in ("swap", "clean")],
    *[f"{MODULE_UTILS}._common.guard@Guard#{name}" for name in ("watch", "release", "close")],
    f"{MODULE_UTILS}._config.loaded@Loaded#mark",
    # Of the copy, and of the files where they are.
    f"{MODULE_UTILS}._config.check#check",
]
A, B, C = (f"/etc/dovecot/conf.d/9{number}-test.conf" for number in (5, 6, 7))
SECRET_FILE = "/etc/dovecot/test-secret.conf.ext"


def change(pair, number, **options):
    """Have one file changed, one made, one removed, and a secret changed; even numbers undo it."""
    include = "!include_try ../test-secret.conf.ext\n"
    files = [
        {"path": A, "content": f"{include}mail_max_userip_connections = {20 + number % 2}\n"},
        {"path": B, "state": "absent"} if number % 2 else {"path": B, "content": "mail_max_lock_timeout = 9s\n"},
        {"path": C, "content": "# made\n"} if number % 2 else {"path": C, "state": "absent"},
    ]
    secrets = {"ssl_key_password": f"canary-{number % 2}"}
    return pair.agent().module("dovecot_config", files=files, secrets=secrets, secrets_file=SECRET_FILE, **options)


def files_there(pair):
    """What is there, the task's guard having finished: by name, contents, modes, owners."""
    listing = f"cd /etc/dovecot; ls -A . conf.d | grep -i test; stat -c '%n %a %U' {A} {B} {C} {SECRET_FILE}"
    return pair.agent().shell(f"flock /etc/dovecot true; {listing}; md5sum {A} {B} {C} {SECRET_FILE}; true")


@pytest.mark.parametrize("by", ["SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.torture)])
def test_killed_at_each_step_of_a_change_of_files(pair, by):
    try:
        states = []
        for number in (1, 0):
            result = change(pair, number)
            assert not result["failed"], result
            states.append(files_there(pair))
        kept = changed = 0
        for step in range(1, 100):
            before = files_there(pair)
            result = change(pair, step, fault=dying(step, WRITE_STEPS, by))
            after = re.sub(r"(?m)^\.\S+\.tmp\n", "", files_there(pair))
            assert after in states, (step, after)
            kept += after == before
            changed += after != before
            pair.agent().shell("doveconf -n > /dev/null")
            again = change(pair, step)
            assert not again["failed"] and files_there(pair) == states[(step + 1) % 2], "no trace of the killed one"
            if not died(result):
                break
        print(f"{step - 1} kills by {by}: {kept} times the files as before, {changed} times the new ones")
        assert 15 < step < 99 and kept > 8 and changed > 1
    finally:
        pair.shell(f"rm -f {A} {B} {C} {SECRET_FILE}")


def test_no_room_for_the_configuration(still):
    """Nothing is changed, neither by a full disk nor by one that fills up at any step."""
    home = "/dev/shm/dovecot"
    still.agent.shell(
        f"mkdir -p {home}/conf.d; sed 's|^protocols.*|!include_try conf.d/*.conf|' {still.CONFIG} > {home}/dovecot.conf"
    )
    files = [{"path": f"{home}/conf.d/{name}.conf", "content": f"# {name}\n" * 4000} for name in ("a", "b", "c")]

    def written(**options):
        return still.agent.module("dovecot_config", config_file=f"{home}/dovecot.conf", files=files, **options)

    try:
        still.agent.shell(f"echo '# old' > {home}/conf.d/b.conf")
        before = still.agent.shell(f"find {home} -type f -exec md5sum {{}} + | sort")
        with full_disk(still, home):
            result = written()
            assert result["failed"] and "No space left" in result["msg"] and "nothing was changed" in result["msg"]
        assert still.agent.shell(f"find {home} -type f -exec md5sum {{}} + | sort") == before
        for step in range(1, 20):
            fault = at_step(step, ["os#rename", "os#link", "os#fsync"], "raise OSError(28, 'No space left on device')")
            result = written(fault=fault)
            if not result["failed"]:
                break
            assert "No space left" in result["msg"], result
            assert still.agent.shell(f"find {home} -type f -exec md5sum {{}} + | sort") == before, step
        assert step == 8 and result["changed"], (step, result)
    finally:
        still.agent.shell(f"rm -rf {home}")


def test_two_tasks_at_once_on_the_same_files(pair):
    """One waits for the other, and then finds nothing to do."""
    slow = at_step(1, ["os#rename"], "time.sleep(3)")
    other = runs.Agent(pair.lab, MX1)
    try:
        change(pair, 0)
        request = dict(module="dovecot_config", fault=slow)
        files = [{"path": A, "content": "mail_max_userip_connections = 21\n"}]
        other._process.stdin.write(json.dumps({**request, "arguments": {"files": files}}) + "\n")
        other._process.stdin.flush()
        time.sleep(1)
        began = time.monotonic()
        second = pair.agent().module("dovecot_config", files=files)
        assert time.monotonic() - began > 1
        first = other._read()
        assert first["changed"] and second["changed"] is False and not second["failed"], (first, second)
    finally:
        other.close()
        pair.shell(f"rm -f {A} {B} {C} {SECRET_FILE}")


# --- plays ---


def start_play(pair, *options, playbook="setup", **variables):
    variables = {"replication_hosts": MX1, **variables}
    command = runs.playbook_command(
        pair.lab, INVENTORY, f"{runs.COLLECTION}.{playbook}", "-e", json.dumps(variables), *options
    )
    return subprocess.Popen(
        command, env=runs._json_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )


def kill(play):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(play.pid, signal.SIGKILL)
    play.communicate()


def socket_identity(pair, host=MX1):
    return pair.shell("stat -c '%i %y' /run/dovecot/config", host).stdout


def test_a_play_killed_between_writing_and_reloading(tidied):
    """The next run makes up for the reload, and says so before in check mode."""
    settings = dict(replication_max_conns=7, replication_sync_patience=60)
    with tidied.silent():
        tidied.agent().module("replicator_replicate", users=[ALICE], priority="high")
        play = start_play(tidied, **settings)
        deadline = time.monotonic() + 60
        while tidied.shell(f"grep -q 'max_conns = 7' {CONFIG}", check=False).returncode:
            assert time.monotonic() < deadline and play.poll() is None
            time.sleep(0.2)
        time.sleep(1)
        before = socket_identity(tidied)
        assert play.poll() is None, "it waits for the running sync before it reloads"
        kill(play)
    try:
        assert socket_identity(tidied) == before
        announced = tidied.play("setup", "--check", "--diff", replication_hosts=MX1, **settings)
        assert socket_identity(tidied) == before
        done = tidied.play("setup", replication_hosts=MX1, **settings)
        assert changes(succeeded(announced)) == changes(succeeded(done)) and len(changes(done)) == 2, changes(done)
        diffs = [line["result"]["diff"] for line in announced if line["result"].get("diff")]
        assert "running with an older configuration" in str(diffs)
        assert socket_identity(tidied) != before
        assert changes(succeeded(tidied.play("setup", replication_hosts=MX1, **settings))) == []
    finally:
        succeeded(tidied.play("setup"))


@pytest.mark.torture
def test_dovecot_found_stopped_is_started(pair):
    pair.shell("systemctl stop dovecot")
    announced = pair.play("setup", "--check", replication_hosts=MX1)
    assert pair.shell("systemctl is-active dovecot", check=False).stdout == "inactive\n"
    done = pair.play("setup", replication_hosts=MX1)
    assert changes(succeeded(announced)) == changes(succeeded(done)) and len(changes(done)) == 2
    assert pair.shell("systemctl is-active dovecot").stdout == "active\n"
