# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How `verify` proves that a pair replicates, and what it reports. Pure. PRIVATE to this collection.

The tasks of the role run modules on both hosts. Between them the action replication_verify calls a function of this
module, whose record says what the next tasks do. One host, the verifier, proves for both.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._monitoring.metrics import (
    exposition,
    of_verification,
)
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._diagnosis import (
    CURED_BY_A_SYNC,
    ERROR,
    PAIR_RULES,
    RULES,
    TIMER,
    Finding,
    before_its_turn,
    doubled_mail,
    engine_of,
    findings,
)
from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils._result import errors_and_warnings

# RETURN of the module node_info.
Observation = Mapping[str, Any]
# A fingerprint of a user's mail on one host, as the module mailbox_info returns it.
Row = Dict[str, Any]

# The severities that fail a host, by the role's variable replication_fail_on.
FAILING: Dict[str, Tuple[str, ...]] = {"error": ("error",), "warning": ("error", "warning"), "nothing": ()}
# How often mail is compared until a difference counts. Arriving mail makes a difference, too.
ROUNDS = 3
# Beside the metrics of the collector, which writes its own file.
METRICS_FILE = "dovecot_replication.prom"
LABELS = {"error": "ERROR  ", "warning": "WARNING"}


class View(NamedTuple):
    """What one host sees of the run.

    :arg name: of this host
    :arg pair: the hosts of the pair in the order of the inventory; this host alone where it belongs to no pair
    :arg batch: hosts that are verified at the same time
    :arg observations: by host, of the hosts of the pair that have been observed
    :arg previewing: whether nothing may be changed, and so no mail sent
    :arg setting_up: whether the host has just been configured, and not only looked at
    """

    name: str
    pair: Sequence[str]
    batch: Sequence[str]
    observations: Mapping[str, Observation]
    previewing: bool = False
    setting_up: bool = False

    @property
    def observed(self) -> List[str]:
        return [name for name in self.pair if name in self.observations]

    @property
    def verifier(self) -> str:
        """The host that proves and reports for the pair."""
        return next((name for name in self.observed if name in self.batch), self.name)

    def findings(self, proof: Optional["Proof"] = None) -> List[Finding]:
        """Return the findings about the hosts that were observed."""
        found = findings(self.observations, None if proof is None else proof._asdict())
        others = [name for name in self.pair if name not in self.observations]
        return before_its_turn(found, self.name, others[0]) if others and self._comes_first() else found

    def _comes_first(self) -> bool:
        """Whether this host is set up and has never synced anyone with the other one."""
        summary = self.observations[self.name].get("replicator", {}).get("summary")
        return self.setting_up and summary is not None and summary["newest_success_age"] is None


class Observed(NamedTuple):
    """What the tasks read after both hosts have been observed.

    :arg observation: the newest one of this host
    :arg verifier: the host that proves and reports for the pair
    :arg proves: whether this host has something to prove, by what is known so far
    :arg failing: users to sync again before that, by host
    """

    observation: Observation
    verifier: str
    proves: bool
    failing: Dict[str, List[str]]


class Proof(NamedTuple):
    """The attempt to replicate, as far as it got. The filter replication_findings takes it, too.

    :arg users: whom to sync from either side
    :arg hosts: where to sync them
    :arg probe_user: through whose mailbox a probe is sent, empty for none
    :arg unannounced: hosts with a timer, which is told of no change, so a probe from there needs a request
    :arg token: part of the subject by which a probe is found again
    :arg ways: pairs of hosts, from and to, for the probes that are still to be sent
    :arg syncs: the message of a failed sync by host, empty where it succeeded
    :arg probes: the outcome of each probe
    :arg to_compare: users whose mail is compared next
    :arg compared: how many users were compared
    :arg rows: fingerprints that only one of the hosts had at the last comparison
    :arg rounds: how many comparisons there were
    :arg differing: users whose mail differed in the same way at two comparisons
    :arg unreadable: why users could not be compared, by host and user
    :arg doubled: how many messages of users are in one folder twice, by user
    """

    users: List[str] = []
    hosts: List[str] = []
    probe_user: str = ""
    unannounced: List[str] = []
    token: str = ""
    ways: List[List[str]] = []
    syncs: Dict[str, str] = {}
    probes: List[Dict[str, Any]] = []
    to_compare: List[str] = []
    compared: int = 0
    rows: List[Row] = []
    rounds: int = 0
    differing: List[str] = []
    unreadable: Dict[str, Dict[str, str]] = {}
    doubled: Dict[str, int] = {}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Proof":
        """Return the Proof in the result of a task."""
        return cls(**{name: values[name] for name in cls._fields if name in values})


class Conclusion(NamedTuple):
    """What the tasks read at the end.

    :arg findings: of the pair, see _diagnosis.py
    :arg report: lines
    :arg failure: why this host fails, empty where it does not
    :arg compared: how many users were compared
    :arg metrics_file: where the metrics of this run belong, empty where nobody watches this host, and in check mode
    :arg metrics: their text
    """

    findings: List[Finding]
    report: List[str]
    failure: str
    compared: int
    metrics_file: str = ""
    metrics: str = ""


# Observation


def pair_of(name: str, members: Sequence[str]) -> List[str]:
    """Return the hosts of a pair.

    :arg members: hosts of the inventory group

    >>> pair_of("mx3", ["mx1", "mx2"])
    ['mx3']
    """
    return list(members) if name in members else [name]


def unseen_accounts(own: Observation, others: Sequence[Observation]) -> List[str]:
    """Return the users whom another host has looked up, and this one has not."""
    return sorted({name for other in others for name in _accounts(other)}.difference(_accounts(own)))


def _accounts(seen: Observation) -> List[str]:
    return [account["username"] for account in seen.get("accounts", [])]


def obstacle(view: View) -> Optional[str]:
    """Return why nothing can be proved, None where it can. An empty text means that findings say it."""
    if len(view.observed) != 2:
        return "only one host of the pair was observed"
    found = view.findings()
    if any(finding["severity"] == ERROR for finding in found):
        # A proof would wait for what is known to fail.
        return ""
    return "replication is on hold" if any(finding["id"] == "on_hold" for finding in found) else None


def _is_provable(view: View) -> bool:
    return not view.previewing and obstacle(view) is None


def observed(view: View) -> Observed:
    """Return what a host knows once both have been observed."""
    proves = view.name == view.verifier and _is_provable(view)
    return Observed(view.observations[view.name], view.verifier, proves, failing(view))


def failing(view: View) -> Dict[str, List[str]]:
    """Return whom to sync again, by host: those whose last sync failed, where nothing else is known to be wrong.

    A sync also fails when mail comes in meanwhile, and when a reload breaks it off. Dovecot tries again after five
    minutes.
    """
    errors = {finding["id"] for finding in view.findings() if finding["severity"] == ERROR}
    if view.previewing or len(view.observed) != 2 or errors - CURED_BY_A_SYNC:
        return {}
    users = {name: view.observations[name]["replicator"]["failing"]["first"] for name in view.observed}
    return {name: users[name] for name in users if users[name]}


# Proof


def begun(view: View, probe_user: str, token: str) -> Proof:
    """Return what to prove; nothing where the last look at the peer has found an obstacle."""
    if not _is_provable(view):
        return Proof()
    sample = view.observations[view.name]["sample"]
    users = list(dict.fromkeys([*sample, *([probe_user] if probe_user else [])]))
    by_syncer = [name for name in view.observed if engine_of(view.observations[name]) == TIMER]
    return Proof(users=users, hosts=view.observed, probe_user=probe_user, unannounced=by_syncer, token=token)


def synced(proof: Proof, results: Sequence[Mapping[str, Any]]) -> Proof:
    """Return what to do after the syncs: probes, and then a comparison. Failed syncs end the proof.

    :arg results: of the module replicator_replicate, each with its host as ``item``
    """
    syncs = {result["item"]: str(result.get("msg", "")) for result in results}
    if any(syncs.values()):
        return proof._replace(syncs=syncs)
    # One way after the other: syncs of a user from both sides at once wait for each other.
    ways = [proof.hosts, proof.hosts[::-1]] if proof.probe_user else []
    return proof._replace(syncs=syncs, ways=ways, to_compare=proof.users)


def probed(
    proof: Proof,
    way: Sequence[str],
    sent: Mapping[str, Any],
    came: Mapping[str, Any],
    asked: Mapping[str, Any],
    came_late: Mapping[str, Any],
) -> Proof:
    """Return the proof with the outcome of one probe.

    :arg way: the hosts from and to
    :arg sent, came, asked, came_late: results of sending, of waiting, of an explicit sync, and of a last look
    """
    announced = bool(came.get("found"))
    failed = bool(sent.get("msg"))
    probe = {
        "from": way[0],
        "to": way[1],
        "sent": not failed,
        "announced": announced,
        "arrived": announced or (not failed and bool(came_late.get("found"))),
        "message": str(sent.get("msg") or ("" if announced else asked.get("msg", ""))),
        "seconds": came.get("elapsed") if announced else None,
    }
    return proof._replace(probes=[*proof.probes, probe])


def compared(proof: Proof, results: Sequence[Mapping[str, Any]]) -> Proof:
    """Return the proof after a comparison; ``to_compare`` is empty when that was the last one.

    :arg results: of the module mailbox_info on both hosts
    """
    here, there = ([dict(row) for row in result.get("users", [])] for result in results)
    unreadable = {
        str(result["item"]): {row["username"]: row["problem"] for row in result.get("users", []) if row["problem"]}
        for result in results
    }
    unknown = {name for problems in unreadable.values() for name in problems}
    hosts = [str(result["item"]) for result in results]
    rows = [dict(row, host=hosts[0]) for row in here if row not in there]
    rows += [dict(row, host=hosts[1]) for row in there if row not in here]
    rows = [row for row in rows if row["username"] not in unknown]
    rounds = proof.rounds + 1
    return proof._replace(
        to_compare=_names(rows) if rounds < ROUNDS else [],
        compared=proof.compared or len(set(proof.users).difference(unknown)),
        rows=rows,
        rounds=rounds,
        # Where mail comes in, one host may have now what the other one had before.
        differing=[name for name in _names(rows) if _of(name, rows) == _of(name, proof.rows)],
        unreadable={
            host: {**proof.unreadable.get(host, {}), **problems}
            for host, problems in unreadable.items()
            if problems or host in proof.unreadable
        },
        doubled={**proof.doubled, **{row["username"]: row["doubled"] for row in here if row["doubled"]}},
    )


def _of(name: str, rows: Sequence[Row]) -> List[Row]:
    return [row for row in rows if row["username"] == name]


def _names(rows: Sequence[Row]) -> List[str]:
    return sorted({row["username"] for row in rows})


# Conclusion


def concluded(view: View, proof: Proof, fail_on: str, now: int = 0) -> Conclusion:
    """Return the findings, the report and the failure.

    :arg proof: of the verifier; one that an earlier run has left counts for nothing
    :arg fail_on: a key of FAILING
    :arg now: Unix seconds
    """
    if not _is_provable(view):
        proof = Proof()
    found = view.findings(proof)
    own = [item for item in found if item["host"] == view.name and item["severity"] in FAILING[fail_on]]
    failure = " ".join(item["summary"] for item in own)
    directory = view.observations.get(view.name, {}).get("metrics_dir")
    watched = bool(directory) and not view.previewing
    return Conclusion(
        findings=found,
        report=report(view, found, proof),
        failure=f"{failure} See the report for the evidence and the fix." if own else "",
        compared=proof.compared,
        metrics_file=f"{directory}/{METRICS_FILE}" if watched else "",
        metrics=metrics(view, found, proof, now) if watched else "",
    )


def metrics(view: View, found: Sequence[Finding], proof: Proof, now: int) -> str:
    """Return what a run tells those who watch this host: each finding that there can be, and whether it is there."""
    there = {item["id"] for item in found if item["host"] == view.name}
    ways = {"to_peer": "from", "from_peer": "to"}
    probes = {
        direction: probe["seconds"]
        for direction, end in ways.items()
        for probe in proof.probes
        if probe[end] == view.name and probe["seconds"] is not None
    }
    rules = {(item.id, item.severity): item.id in there for item in RULES + PAIR_RULES}
    return exposition(of_verification(now, rules, probes, view.observations[view.name]["userdb"]["users"]))


def report(view: View, found: Sequence[Finding], proof: Proof) -> List[str]:
    """Return what `verify` shows, as lines."""
    lines = []
    for finding in found:
        lines += [
            f"{LABELS[finding['severity']]}  {finding['host']}: {finding['summary']}  [{finding['id']}]",
            f"         evidence: {finding['evidence']}",
            f"         fix:      {finding['cure']}",
        ]
    lines += [
        f"A probe from {probe['from']} has reached {probe['to']}"
        + ("." if probe["announced"] else " by a sync that was asked for; else the timer of the host brings it.")
        for probe in proof.probes
        if probe["announced"] or probe["arrived"] and probe["from"] in proof.unannounced
    ]
    lines += _proved(view, found, proof)
    lines += doubled_mail(proof.doubled, view.verifier)
    lines += [line for name in view.observed for line in _state(name, view.observations[name])]
    ending = errors_and_warnings([finding["severity"] for finding in found])
    return [*lines, ending + (" Fix the first one, then run verify again." if found else "")]


def _proved(view: View, found: Sequence[Finding], proof: Proof) -> List[str]:
    reason = obstacle(view)
    if any(finding["severity"] == ERROR for finding in found):
        return []
    if reason:
        return [f"No proof was tried, because {reason}."]
    if view.previewing:
        return ["Check mode sends no mail, so this does not prove that mail arrives."]
    if not proof.users and not proof.compared:
        return ["No proof was tried, because no user is on both lists yet. replication_probe_user names one to try."]
    if not proof.compared:
        return []
    if proof.compared == 1:
        return ["1 user has the same mail on both hosts, after a sync from either side."]
    return [f"{proof.compared} users have the same mail on both hosts, after a sync from either side."]


def _state(name: str, seen: Observation) -> List[str]:
    replicator = seen.get("replicator", {})
    if "overview" not in replicator:
        return []
    return [
        f"{name}: Dovecot {(seen['dovecot_version'] or 'unknown').split()[0]}, "
        f"{replicator['overview']['known_users']} users, {replicator['failing']['count']} failing, "
        f"{len(replicator['running'])} being synced."
    ]
