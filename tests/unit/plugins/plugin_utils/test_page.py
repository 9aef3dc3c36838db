# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page about pairs."""

import html.parser

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.plugin_utils import _page as model

MX1, MX2, MX3, MX4 = (f"mx{number}.example.org" for number in range(1, 5))
SUMMARY = {
    **dict(known_users=1200, failing=0, queued=3, running=1, never_synced=0),
    **dict(oldest_full_sync_age=86000, on_hold=False),
}
WHEN = "2026-11-29 18:00 UTC"
VOID = {"meta"}


def host(pair, findings=(), **more):
    seen = dict(ok=not findings, message="", dovecot_version="2.3.19.1 (9b53102964)", summary=SUMMARY)
    found = None if findings is None else list(findings)
    return {**seen, "pair": list(pair), "findings": found, "failing_users": [], **more}


def finding(name, severity="error", on=MX1, **more):
    about = dict(summary="No sync can start.", evidence="Connection refused", cure="Run `systemctl start dovecot`.")
    return {"id": name, "severity": severity, "host": on, **about, **more}


def result(hosts, check_mode=True):
    return {"playbook": "verify", "check_mode": check_mode, "hosts": hosts}


def healthy():
    return {MX1: host([MX1, MX2]), MX2: host([MX1, MX2])}


class Reader(html.parser.HTMLParser):
    """The text and the tags of a page; each tag that is opened is closed in its order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data.strip())

    @property
    def text(self):
        return " ".join(filter(None, self.texts))


def read(hosts, names=True, **about):
    return Reader(model.page(result(hosts, **about), WHEN, names))


def test_a_healthy_pair():
    page = read(healthy())
    assert page.text.startswith("The pair is in order - Dovecot replication The pair is in order")
    assert WHEN in page.text and "Nothing is wrong." in page.text and "1,200" in page.text and "23 h" in page.text
    assert "this look sent none" in page.text and "2.3.19.1" in page.text
    assert "this look sent none" not in read(healthy(), check_mode=False).text


def test_many_pairs_stand_in_order_of_their_trouble():
    hosts = healthy()
    hosts[MX3] = host([MX3, MX4], [finding("slow", "warning", MX3), finding("peer_unreachable", on=MX3)])
    hosts[MX4] = host([MX3, MX4])
    page = read(hosts)
    assert "1 of 2 pairs needs a person" in page.text
    assert page.text.index(f"{MX3} and {MX4}") < page.text.index(f"{MX1} and {MX2}")
    assert page.text.index("peer_unreachable") < page.text.index("Name of the finding: slow")
    links = [about["href"] for tag, about in page.tags if tag == "a"]
    anchors = ["#" + about["id"] for tag, about in page.tags if "id" in about]
    assert links == anchors and len(set(links)) == 2
    del hosts[MX3]["findings"][1]
    assert "All 2 pairs are in order" in read(hosts).text and "in order, with warnings" in read(hosts).text


def test_what_was_not_looked_at_is_never_in_order():
    hosts = healthy()
    hosts[MX2] = {"ok": False, "message": "No result: it could not be reached."}
    page = read(hosts)
    assert "The pair needs a person" in page.text and "not known" in page.text
    assert f"{MX2}: No result: it could not be reached." in page.text
    assert "Nothing is wrong." not in page.text
    # What the playbook verify hands over of a host on which its tasks have failed.
    hosts[MX2] = host([MX1, MX2], findings=None, summary=None, ok=False, message="Not root.")
    page = read(hosts)
    assert "The pair needs a person" in page.text and f"{MX2}: Not root." in page.text
    assert "Nothing is wrong." not in page.text
    del hosts[MX2]
    assert f"The peer of {MX1}: it was not in this run." in read(hosts).text
    assert "No pair was looked at" in read({}).text


def test_users_whose_syncs_fail():
    users = [f"user{number}@example.org" for number in range(30)]
    hosts = healthy()
    hosts[MX1].update(failing_users=users, summary={**SUMMARY, "failing": 41})
    page = read(hosts)
    assert f"fail: 41 {users[0]}" in page.text and users[19] in page.text and users[20] not in page.text
    assert "21 more are not named here." in page.text


NASTY = "<script>alert('x')</script>&\"@example.org"


def test_names_are_text():
    hosts = healthy()
    fault = finding("users_failing", evidence=f"failing: {NASTY}", cure=f"Run `resync -e '{NASTY}'` <b>now</b>.")
    hosts[MX1].update(failing_users=[NASTY], findings=[fault])
    page = read(hosts)
    assert page.text.count(NASTY) == 3 and not {"script", "b"}.intersection(tag for tag, about in page.tags)


def test_a_page_without_names():
    hosts = healthy()
    secret = "alice@example.org"
    fault = finding("users_failing", evidence=secret, cure=f"Run `resync -e {secret}`.")
    hosts[MX1].update(failing_users=[secret], findings=[fault], message=secret)
    hosts[MX2] = {"ok": False, "message": f"failed for {secret}"}
    page = read(hosts, names=False)
    assert secret not in page.text and "users_failing" in page.text and "Names of users are left out" in page.text


def test_nothing_comes_from_elsewhere():
    page = read(healthy())
    assert not {"script", "link", "img"}.intersection(tag for tag, about in page.tags)
    assert not any({"src", "style", "onclick"}.intersection(about) for tag, about in page.tags)
    tables = [tag for tag, about in page.tags if tag == "table"]
    assert len(tables) == len([tag for tag, about in page.tags if tag == "caption"]) == 1
    assert all("scope" in about for tag, about in page.tags if tag == "th")


def test_the_size_of_a_fleet():
    hosts = {}
    for number in range(100):
        pair = [f"a{number}", f"b{number}"]
        for name in pair:
            faults = [finding(f"f{index}", on=name) for index in range(3)]
            hosts[name] = host(pair, faults, failing_users=[f"user{index}@example.org" for index in range(20)])
    assert len(model.page(result(hosts), WHEN)) < 1_000_000


@pytest.mark.parametrize("seconds, told", [(None, "-"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (200000, "2 days")])
def test_ages(seconds, told):
    hosts = healthy()
    hosts[MX1].update(summary={**SUMMARY, "oldest_full_sync_age": seconds})
    assert f" 1 0 {told} allowed" in read(hosts).text


def moments(*queued):
    return [
        {"time": 60 * number, "queued": value, "failing": value and 0, "oldest_full_sync_age": 90000 + number}
        for number, value in enumerate(queued)
    ]


def test_pictures_of_what_was():
    """Each says in words what it shows, and has a gap where nothing is known."""
    page = Reader(model.page(result(healthy()), WHEN, histories={MX1: moments(0, 1500, None, 4), MX2: moments(0)}))
    told = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    assert told == [
        "Queued users: 4 now, at most 1,500",
        "Failing users: 0 now, at most 0",
        "Age of the oldest full sync: 25 h now, at most 25 h",
    ]
    lines = [attributes["points"] for tag, attributes in page.tags if tag == "polyline"]
    assert lines[:2] == ["0,49 107,1", "320,49 320,49"] and f"{MX1} over the last 3 min" in page.texts
    assert "Queued users: not known now, at most 1" in model.page(
        result(healthy()), WHEN, histories={MX1: moments(1, None)}
    )


def test_a_fleet_with_pictures_stays_small():
    hosts = {}
    for number in range(0, 200, 2):
        names = [f"mx{number}.example.org", f"mx{number + 1}.example.org"]
        hosts |= {name: host(names) for name in names}
    page = model.page(result(hosts), WHEN, histories={name: moments(*range(120)) for name in hosts})
    assert len(page) < 600_000 and page.count("<svg") == 20 * 2 * 3
