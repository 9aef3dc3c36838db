# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random sequences of tasks from random states on, on a live replicator.

Each task is run in check mode, for real, and for real again. The check run changes nothing and predicts the real one,
the real one reaches what was asked for, the second one has nothing to do. What was asked for is worked out here from
the documentation, not by the code of the modules.

MAILOPS_PROPERTY_EXAMPLES: how many sequences, new ones each time; when not set, some that are always the same.
"""

import fnmatch
import json
import os
import shlex
import threading

import hypothesis
import pytest
import runs
from conftest import MX1
from hypothesis import strategies as st

A, AB, B, C, DASH, NORA = EXISTING = ["a@x.org", "ab@x.org", "b@x.org", "c@y.org", "-p@x.org", "nora@x.org"]
OTHERWISE_SPELT = ["A@x.org", "a@X.ORG", "AB@X.org", "C@y.org"]
UNKNOWN = ["ghost@x.org", "Ghost@x.org", "%u@x.org", "a b@x.org", "tab\there@x.org", "new\nline@x.org", "ünï@y.org"]
MASKS = ["*", "*@x.org", "a*", "?@?.org", "*b*", "C*", "zz*", "c@y.org"]
CASES = {"changed", "added", "removed", "requested", "skipped_users", "known_users", "unknown_users", "diff"}

known = st.lists(st.sampled_from(EXISTING[:5] + OTHERWISE_SPELT), min_size=1, max_size=5)
anything = st.lists(st.sampled_from(EXISTING + OTHERWISE_SPELT + UNKNOWN), max_size=5)
masks = st.sampled_from(MASKS)
entries = st.fixed_dictionaries(
    {
        "priority": st.sampled_from(["none", "none", "low", "high"]),
        "age": st.sampled_from([None, 5, 2000, 100_000]),
        "failed": st.booleans(),
    }
)
states = st.dictionaries(st.sampled_from(EXISTING + OTHERWISE_SPELT + UNKNOWN), entries, min_size=2, max_size=9)


def selections():
    """Which users a task names: mostly what makes sense, sometimes what must be refused."""
    yield st.fixed_dictionaries({"users": known, "user_mask": st.none(), "check_userdb": st.just(True)})
    yield st.fixed_dictionaries({"users": anything, "user_mask": st.none(), "check_userdb": st.booleans()})
    yield st.fixed_dictionaries({"users": st.none(), "user_mask": masks, "check_userdb": st.booleans()})
    yield st.fixed_dictionaries(
        {"users": st.none() | anything, "user_mask": st.none() | masks, "check_userdb": st.booleans()}
    )


@st.composite
def user_tasks(draw):
    task = draw(st.one_of(*selections()))
    task.update(module="replicator_user", state=draw(st.sampled_from(["present", "absent"])), exclusive=False)
    if draw(st.booleans()):
        return task
    users, mask = draw(known if draw(st.booleans()) else anything), draw(st.none() | masks)
    if mask and draw(st.sampled_from([True, True, True, False])):
        within = [name for name in EXISTING[:5] + OTHERWISE_SPELT if matches(mask, account(name))]
        users = draw(st.lists(st.sampled_from(within), min_size=1)) if within else users
    return {**task, "users": users, "user_mask": mask, "exclusive": True, "state": "present"}


@st.composite
def replicate_tasks(draw):
    task = draw(st.one_of(*selections()))
    return {
        **task,
        "module": "replicator_replicate",
        "priority": draw(st.sampled_from(["low", "high"])),
        "full": draw(st.booleans()),
        "max_age": draw(st.sampled_from([None, "0", "10m", "1d"])),
        "failed_only": draw(st.sampled_from([False, False, True])),
    }


sequences = st.lists(user_tasks() | user_tasks() | replicate_tasks(), min_size=2, max_size=8)


class Refused(Exception):
    """What the documentation says that a task refuses."""


class Model:
    """What the documentation promises of a task, given what is on the list before."""

    def __init__(self, entries, task):
        self.entries = entries
        self.before = set(entries)
        self.task = task
        self.users = task["users"]
        self.mask = task["user_mask"]

    def expected(self):
        """Return who is on the list afterwards and who is asked for; raise Refused."""
        return self.of_user() if self.task["module"] == "replicator_user" else self.of_replicate()

    def of_user(self):
        exclusive = self.task["exclusive"]
        if self.users is None and self.mask is None:
            raise Refused
        if exclusive and (self.task["state"] == "absent" or not self.users):
            raise Refused
        if not exclusive and self.users is not None and self.mask is not None:
            raise Refused
        if self.task["state"] == "absent":
            return self.before - self.unwanted(), set()
        wanted = self.wanted()
        if exclusive and self.mask is not None and any(not matches(self.mask, name) for name in wanted):
            raise Refused
        duplicate_spellings = set()
        if self.users is None or self.task["check_userdb"]:
            duplicate_spellings = {name for name in self.before if account(name) in wanted and name not in wanted}
        if exclusive:
            duplicate_spellings |= {name for name in self.before if matches(self.mask or "*", name)} - wanted
        return (self.before - duplicate_spellings) | wanted, set()

    def unwanted(self):
        if self.users is None:
            return {name for name in self.before if matches(self.mask, name)}
        accounts = {account(name) for name in self.users} - {None}
        return {name for name in self.before if name in self.users or account(name) in accounts}

    def wanted(self):
        if self.users is None:
            return {name for name in EXISTING if matches(self.mask, name) and (name != NORA or NORA in self.before)}
        if not self.task["check_userdb"]:
            return set(self.users)
        if any(account(name) is None for name in self.users):
            raise Refused
        wanted = {account(name) for name in self.users}
        if NORA in wanted - self.before:
            raise Refused
        return wanted

    def of_replicate(self):
        if (self.users is None) == (self.mask is None):
            raise Refused
        if self.users is None:
            wanted = {name for name in self.before if matches(self.mask, name)}
        elif self.task["check_userdb"]:
            if any(account(name) is None for name in self.users):
                raise Refused
            wanted = {account(name) for name in self.users}
        else:
            wanted = set(self.users)
        requested = {name for name in wanted if self.is_asked_for(name)}
        if self.users is not None and self.task["check_userdb"] and NORA in requested:
            raise Refused
        return self.before | requested, requested

    def is_asked_for(self, name):
        entry = self.entries.get(name)
        if self.task["failed_only"] and not (entry and entry["failed"]):
            return False
        limit = {None: -1, "0": 0, "10m": 600, "1d": 86400}[self.task["max_age"]]
        return not (entry and not entry["failed"] and entry["age"] is not None and entry["age"] < limit)


def account(name):
    """The name by which the userdb knows a user, None for an unknown one."""
    return name.lower() if name.lower() in EXISTING else None


def matches(mask, name):
    return fnmatch.fnmatchcase(name, mask)


class Replicator:
    """The replicator under test, observed and prepared by other means than the modules."""

    def __init__(self, still, **options):
        self.still = still
        self.options = options
        self.refused = self.carried_out = 0
        still.have_users({name: "userdb_noreplicate=yes" if name == NORA else "" for name in EXISTING})

    def start_with(self, state):
        """Have the replicator start anew with just these entries, from the file that it keeps them in."""
        now = int(self.still.agent.shell("date +%s"))
        lines = []
        for name, entry in state.items():
            then = 0 if entry["age"] is None else now - entry["age"]
            priority = ["none", "low", "high"].index(entry["priority"])
            escaped = name.replace("\t", "\x01t").replace("\n", "\x01n")
            lines.append("\t".join(map(str, [escaped, priority, then, then, then, int(entry["failed"]), "", then])))
        file = f"{self.still.HOME}/state/replicator.db"
        doveadm = f"doveadm -c {self.still.CONFIG} replicator"
        self.still.agent.shell(
            f"printf %s {shlex.quote(''.join(line + chr(10) for line in lines))} > {file} && "
            # A process that is killed does not write its list into the file.
            f"pkill -KILL -P $(cat /run/still/master.pid) replicator; {doveadm} status > /dev/null && "
            f"{'; '.join(f'{doveadm} remove -- {name}' for name in EXISTING if name not in state)}; true"
        )
        assert {name: {**row, "next": None} for name, row in self.observed().items()} == {
            name: {**entry, "next": None} for name, entry in state.items()
        }

    def observed(self):
        """What doveadm tells of each entry, its age to the nearest of those in ``states``."""
        status = self.still.agent.shell(f"doveadm -c {self.still.CONFIG} -f json replicator status '*'")
        return {
            row["username"]: {
                "priority": row["priority"],
                "failed": row["failed"] != "-",
                "age": rounded(row["success sync"]),
            }
            for row in json.loads(status)
        }

    def run(self, task, **options):
        arguments = {**task, **self.options}
        result = self.still.module(arguments.pop("module"), **arguments, **options)
        assert "exception" not in result, result["exception"]
        return result


def rounded(age):
    if age == "-":
        return None
    hours, minutes, seconds = map(int, age.split(":"))
    total = 3600 * hours + 60 * minutes + seconds
    return max(known for known in (5, 2000, 100_000) if known <= total)


def step(replicator, task, fault=""):
    before = replicator.observed()
    predicted = replicator.run(task, check=True, fault=fault)
    assert replicator.observed() == before, "a check run changes nothing"
    real = replicator.run(task, fault=fault)
    after = replicator.observed()
    model = Model(before, task)
    try:
        listed, requested = model.expected()
    except Refused:
        assert real["failed"] and predicted["failed"] and real["msg"] == predicted["msg"]
        assert after == before, "a task that is refused changes nothing"
        replicator.refused += 1
        return
    assert not real["failed"] and not predicted["failed"], real.get("msg")
    assert {key: predicted[key] for key in CASES & set(predicted)} == {key: real[key] for key in CASES & set(real)}
    assert set(after) == listed
    came, went = sorted(listed - set(before)), sorted(set(before) - listed)
    if task["module"] == "replicator_user":
        assert (real["added"], real["removed"]) == (came, went)
        assert real["known_users"] == len(after)
        assert real["diff"]["before"] == "".join(f"{name}\n" for name in went)
        assert real["diff"]["after"] == "".join(f"{name}\n" for name in came)
        assert real["changed"] == bool(came or went)
        changed = set(came)
        again = replicator.run(task, fault=fault)
        assert (again["changed"], again["added"], again["removed"]) == (False, [], [])
    else:
        assert real["requested"] == sorted(requested) and real["changed"] == bool(requested)
        changed = requested
        for name in requested:
            wanted = {task["priority"], "low" if task["full"] or name in came else before[name]["priority"]} - {"none"}
            assert after[name]["priority"] == ("high" if "high" in wanted else "low")
            assert (
                after[name]["age"] is None
                if task["full"]
                else name in came or after[name]["age"] == before[name]["age"]
            )
    for name in changed.intersection(came):
        assert after[name]["priority"] != "none", "whoever is added is queued"
    untouched = set(after) - changed
    assert {name: after[name] for name in untouched} == {name: before[name] for name in untouched}
    replicator.carried_out += 1


def run_sequences(replicator, count, fault=""):
    """Run so many random sequences; stop at the first that breaks a promise."""
    more = "MAILOPS_PROPERTY_EXAMPLES" in os.environ

    @hypothesis.settings(
        max_examples=int(os.environ["MAILOPS_PROPERTY_EXAMPLES"]) if more and not fault else count,
        derandomize=not more,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(states, sequences)
    def sequence(state, tasks):
        replicator.start_with(state)
        for task in tasks:
            hypothesis.note(f"{task} with {replicator.observed()}")
            step(replicator, task, fault)

    sequence()


# Of these `make test` draws a few.
SEQUENCES = 30 if os.environ.get("MAILOPS_ALL") else 10


@pytest.mark.parametrize(
    "transport, count", [("socket", SEQUENCES), pytest.param("doveadm", 8, marks=pytest.mark.on_one)]
)
def test_any_sequence_of_tasks(still, transport, count, capsys):
    replicator = Replicator(still, transport=transport)
    run_sequences(replicator, count)
    with capsys.disabled():
        print(f" {replicator.carried_out} tasks carried out, {replicator.refused} refused ", end="")
    assert replicator.carried_out > count and replicator.refused


PLANNER = "import ansible_collections.mailops.dovecot_replication.plugins.modules.{module} as m; right = m.{function}\n"
FAULTS = {
    "the last new name is forgotten": (
        ("replicator_user", "plan_present"),
        "m.plan_present = lambda *a, **k: right(*a, **k)._replace(add=right(*a, **k).add[:-1])",
    ),
    "exclusive takes everyone off": (
        ("replicator_user", "plan_present"),
        "m.plan_present = lambda l, w, s=None, d=(), **k: right(l, w, (lambda n: True) if s else None, **k)",
    ),
    "known names are added again": (
        ("replicator_user", "plan_present"),
        "m.plan_present = lambda l, w, *a, **k: right(l, w, *a, **k)._replace(add=sorted(w))",
    ),
    "names are not sorted": (
        ("replicator_user", "plan_absent"),
        "m.plan_absent = lambda *a: right(*a)._replace(remove=right(*a).remove[::-1])",
    ),
    "an age counts for failed users": (
        ("replicator_replicate", "plan_replication"),
        "m.plan_replication = lambda s, *a: right({n: e._replace(failed=False) for n, e in s.items()}, *a)",
    ),
    "a check run acts": (
        ("replicator_replicate", "Session"),
        "m.Session.check_mode = False",
    ),
}


@pytest.mark.parametrize("pair", ["bullseye"], indirect=True)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.rare
def test_a_planner_that_is_broken_is_found_out(still, fault):
    (module, function), code = FAULTS[fault]
    with pytest.raises(AssertionError):
        run_sequences(Replicator(still), 150, PLANNER.format(module=module, function=function) + code)


@pytest.mark.rare
def test_whoever_else_changes_the_list(still, pair):
    """Others add and remove the same users meanwhile: never a crash, and once they stop the task does what it says."""
    replicator = Replicator(still)
    other = runs.Agent(pair.lab, MX1)
    enough = threading.Event()
    rounds = []

    def interfere():
        options = dict(config_file=still.CONFIG, users=[A, B, C], check_userdb=False)
        while not enough.is_set():
            rounds.extend(other.module("replicator_user", state=state, **options) for state in ("present", "absent"))

    thread = threading.Thread(target=interfere)
    thread.start()
    try:
        for number in range(60):
            state = ("present", "absent")[number % 2]
            result = replicator.run(dict(module="replicator_user", users=[A, AB, B, C, DASH], state=state))
            assert not result["failed"], result
            assert set(replicator.observed()).issuperset({AB, DASH}) == (state == "present")
            result = replicator.run(dict(module="replicator_replicate", user_mask="*", full=number % 3 == 0))
            assert not result["failed"], result
    finally:
        enough.set()
        thread.join()
        other.close()
    assert len(rounds) > 20 and not any(result["failed"] for result in rounds)
    task = dict(module="replicator_user", users=[A, C], user_mask=None, state="present", exclusive=True)
    step(replicator, {**task, "check_userdb": True})
