# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bad input: whatever comes, a parser returns what is really there or raises ValueError, a client DovecotError.

MAILOPS_FUZZ_INPUTS: how many inputs, new ones each time, as `make torture` has it. Without it some that are always the
same. Here a server is imitated, as no Dovecot sends such things.
"""

import contextlib
import itertools
import json
import os
import random
import re
import socket
import threading
import time
import tracemalloc
from pathlib import Path

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common import line_socket
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.durations import (
    iso_time,
    parse_duration,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import DovecotError
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.guard import last_told
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import source as config_source
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config.doveconf import parse_version
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mail import NONSENSE
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._mail.mailboxes import Mailboxes, rows_in
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._node import replica
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import http_client, protocol
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import rows as json_rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.http_client import (
    HttpApi,
    HttpClient,
    HttpUserdb,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.socket_client import SocketClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import (
    USERDB_SOCKET,
    Userdb,
)

INPUTS = int(os.environ.get("MAILOPS_FUZZ_INPUTS", "0"))
# Of each 100 inputs so many go to the parsers, the rest over a socket.
TO_PARSERS = 0.95
USUAL = 20000
SEED = random.randrange(1 << 32) if INPUTS else 2303
FIXTURES = Path(__file__).parents[2] / "fixtures"
NOW = 1795436600
TIMEOUT = 5

SEEDS = [path.read_bytes() for path in sorted(FIXTURES.glob("*.socket.txt"))]
SEEDS += [
    b"u\tnone\t3\t2\t1\n\n",
    b"u\tlow\t3\t2\t1\t4\t5\n\n",
    b"u\thigh\t3\t2\t0\t4\t5\t6\t7\n\n",
    b"+1\n",
    b"-User not found\n",
    b"VERSION\treplicator-doveadm-server\t1\t0\n",
    b"VERSION\t1\t1\nSPID\t7\nLIST\t1\tann\nDONE\t1\t\n",
    b"USER\t1\tann\tuid=5000\tnoreplicate=yes\nNOTFOUND\t2\nFAIL\t3\n",
]
JSON_SEEDS = [path.read_bytes() for path in sorted(FIXTURES.glob("*.json.stdout.txt"))]
JSON_SEEDS += [
    b'[["doveadmResponse",[{"username":"u","priority":"none"}],"0"]]',
    b'[["error",{"type":"exitCode","exitCode":64},"0"],["doveadmResponse",{"userList":["a","b"]},"1"]]',
    b'[{"username":"u","mailbox":"INBOX","uid":"1","guid":"x","flags":"\\\\Seen","uidvalidity":"1","uidnext":"2"}]',
]
TEXT_SEEDS = [
    b'plugin {\n  mail_replica = "tcp:x:1" # y\n}\nprotocol imap {\n  mail_plugins = $mail_plugins \\\n a\n}\n',
    b"15m",
    b"2.3.19.1 (9b53102964)",
    b"tcp:[2001:db8::1]:12345",
    b"remoteprefix:vmail@mx2.example.org",
    b"3:bob0:5:alice",
    b"*@ex?mple.org",
]
PIECES = [
    *[b"\t", b"\n", b"\0", b"\x01", b"\x01t", b"\x01", b"\xff", b"\xc3\xbc", b'"', b"'", b"%u", b"-", b" ", b"*", b"?"],
    *[b"9" * 30, b"-1", b"1e3", b"1_0", b"0x1", b"\xd9\xa3", b"+", b"", b"\r\n", b"[", b"]", b"{", b"}", b"null", b"1"],
    *[
        b"a" * 300,
        b"VERSION",
        b"DONE\t1\t",
        b"none",
        b"\\",
        b"=",
        b"#",
        b"!include ",
        b"true",
        b"[" * 3000,
        b":",
        b"::",
    ],
]


def mutated(rng, seeds):
    """Return one of the seeds with some bytes changed, cut, doubled, or replaced by all that is odd."""
    if rng.random() < 0.1:
        return rng.choice(seeds)
    if rng.random() < 0.05:
        return bytes(rng.randrange(256) for dummy in range(rng.randrange(60)))
    data = rng.choice(seeds)
    for _change in range(rng.choice([1, 1, 1, 2, 3, 8])):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.choice([0, 1, 1, 2, 10]))
        piece = rng.choice(PIECES) if rng.random() < 0.8 else bytes([rng.randrange(256)])
        data = data[:start] + piece + data[end:]
    if rng.random() < 0.1:
        data = data[: rng.randrange(len(data) + 1)]
    if rng.random() < 0.1:
        data += rng.choice(seeds)
    return data


def unescaped(raw):
    """The bytes of a field, said in another way than by the parser."""
    meaning = {b"0": b"\0", b"1": b"\x01", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
    return re.sub(rb"(?s)\x01(.?)", lambda match: meaning.get(match.group(1), match.group(1)), raw)


def as_bytes(text):
    return text.encode("utf-8", "surrogateescape")


def check_row(line, status):
    """A status is what its row says, and nothing in it is made up."""
    fields = line.split(b"\t")
    assert as_bytes(status.username) == unescaped(fields[0])
    assert status.priority in ("none", "low", "high", "sync") and as_bytes(status.priority) == unescaped(fields[1])
    times = [status.fast_sync, status.full_sync, status.successful_sync]
    for moment, field in zip(times, fields[2:4] + (fields[5:6] or [b"0"])):
        said = int(unescaped(field))
        assert moment.time == (said or None)
        future = moment is status.successful_sync and said > NOW + 60
        assert moment.age == (max(0, NOW - said) if said and not future else None)
        assert iso_time(moment.time) is None or len(iso_time(moment.time)) == 20
    assert status.failed == (unescaped(fields[4]) == b"1")
    assert (status.next_sync is None) == (len(fields) < 7)
    if len(fields) > 6:
        assert status.next_sync == max(0, int(unescaped(fields[6])))


def parse_all(data):
    """Give an input to each parser of the replicator's rows; return how many rows were taken for sound."""
    sound = 0
    lines = data.split(b"\n")
    for line in lines:
        with contextlib.suppress(ValueError):
            check_row(line, protocol.parse_user(line, NOW))
            assert set(map(as_bytes, protocol.parse_names([line]))) == {unescaped(line.split(b"\t")[0])}
            sound += 1
        with contextlib.suppress(ValueError):
            slot = protocol.parse_slot(line)
            assert as_bytes(slot.username or "") == unescaped(line.split(b"\t")[0])
        fields = protocol.decode_line(line)
        assert list(map(as_bytes, fields)) == [unescaped(field) for field in line.split(b"\t")]
        again = protocol.decode_line(protocol.encode_line(*fields)[:-1])
        assert list(map(as_bytes, again)) == list(map(as_bytes, fields))
    with contextlib.suppress(ValueError):
        overview = protocol.parse_overview(lines)
        assert len(overview) == 7 and all(count >= 0 for count in overview.values())
    return sound


def parse_json(data):
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(ValueError, RecursionError):
        rows = json.loads(text)
        for parse in (json_rows.parse_users, json_rows.parse_slots, json_rows.parse_overview):
            with contextlib.suppress(ValueError):
                parse(rows)
    mailboxes = Mailboxes(["u"])
    with contextlib.suppress(*NONSENSE):
        for row in rows_in([text[:20], text[20:]]):
            mailboxes.add_mailbox("u", row)
            mailboxes.add_message("u", row)
    mailboxes.described(True)


def parse_text(data):
    text = data.decode("utf-8", "surrogateescape")
    for assignment in config_source.parse(text.replace("!include", "include")):
        assert assignment.setting
    with contextlib.suppress(DovecotError):
        assert 0 <= parse_duration("max_age", text) < 1e18
    parse_version(text)
    replica.parse_replica(text)
    with contextlib.suppress(ValueError):
        last_told([data])
    name = text[: len(text) // 2]
    assert mask_matcher("*")(text) and mask_matcher(name + "*")(text.replace("*", "x").replace("?", "x")) in (
        True,
        False,
    )
    if "*" not in text and "?" not in text:
        assert mask_matcher(text)(text) and mask_matcher("*" + text[len(name) :])(text)
        assert not mask_matcher(text)(text + "x")


def test_parsers():
    rng = random.Random(SEED)
    sound = 0
    total = int(INPUTS * TO_PARSERS) or USUAL
    for number in range(total):
        kind = number % 10
        seeds, parse = (SEEDS, parse_all) if kind < 7 else (JSON_SEEDS, parse_json)
        if kind == 9:
            seeds, parse = TEXT_SEEDS, parse_text
        data = mutated(rng, seeds)
        try:
            sound += parse(data) or 0
        except BaseException:
            print(f"seed {SEED}, input {number}: {data!r}")
            raise
    print(f"{total} inputs to the parsers, {sound} sound rows among them, seed {SEED}")
    assert sound > total / 10, "most mutants should still have sound rows, else nothing is tested but the refusal"


WHEN_ASKED = object()


class Server:
    """Listens at a socket, and sends each client what it is told to: chunks, then the end of the stream.

    For a chunk WHEN_ASKED it waits until the client has said something.
    """

    def __init__(self, listening):
        self.listening = listening
        self.chunks = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection = self.listening.accept()[0]
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                for chunk in self.chunks:
                    if chunk is WHEN_ASKED:
                        connection.settimeout(TIMEOUT)
                        connection.recv(65536)
                    else:
                        connection.sendall(chunk)
                connection.shutdown(socket.SHUT_WR)
                # Else what the client still sends would reset the connection before it has read all.
                connection.settimeout(TIMEOUT)
                while connection.recv(65536):
                    pass


@pytest.fixture
def unix(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / USERDB_SOCKET))
        listening.listen()
        server = Server(listening)
        server.path = str(tmp_path / USERDB_SOCKET)
        server.directory = str(tmp_path)
        yield server
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def web():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = Server(listening)
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield server
        listening.shutdown(socket.SHUT_RDWR)


GREETING = b"VERSION\treplicator-doveadm-server\t1\t0\n"
AUTH_GREETING = b"VERSION\t1\t1\nSPID\t7\n"
HTTP_SEED = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"


def use_socket(path, rng):
    client = SocketClient(path, TIMEOUT)
    with contextlib.closing(client):
        ask = rng.choice(["users", "names", "overview", "dsyncs", "replicate", "remove"])
        if ask in ("replicate", "remove"):
            getattr(client, ask)(["a"], *(["low"] if ask == "replicate" else []))
            return
        json.dumps(list(getattr(client, ask)()))
        if rng.random() < 0.5:
            client.users()


def use_userdb(directory, rng):
    userdb = Userdb(directory, TIMEOUT)
    with contextlib.closing(userdb):
        return userdb.names() if rng.random() < 0.5 else userdb.accounts(["ann", "bob"])


def use_web(url, rng):
    api = HttpApi(url, "key", TIMEOUT)
    ask = rng.randrange(6)
    if ask < 3:
        client = HttpClient(api)
        return [client.users, client.overview, client.dsyncs][ask]()
    if ask == 3:
        return HttpClient(api).remove(["a"])
    return HttpUserdb(api).names() if ask == 4 else HttpUserdb(api).accounts(["ann"])


def test_clients(unix, web):
    """Garbage over the wire, in chunks of any size, and then the end of the stream."""
    rng = random.Random(SEED)
    refused = answered = 0
    total = (INPUTS - int(INPUTS * TO_PARSERS)) or USUAL // 20
    for number in range(total):
        kind = number % 4
        if kind < 2:
            use, place, server = use_socket, unix.path, unix
            greeting, data = GREETING, mutated(rng, SEEDS)
        elif kind == 2:
            use, place, server = use_userdb, unix.directory, unix
            greeting, data = AUTH_GREETING, mutated(rng, SEEDS)
        else:
            use, place, server = use_web, web.url, web
            greeting, body = b"", mutated(rng, JSON_SEEDS)
            head = HTTP_SEED if rng.random() < 0.7 else mutated(rng, [HTTP_SEED])
            data = head + rng.choice([b"", b"Content-Length: %d\r\n" % len(body)]) + b"\r\n" + body
        cuts = sorted(rng.randrange(len(data) + 1) for dummy in range(rng.randrange(3)))
        greeting = [greeting, WHEN_ASKED] if rng.random() < 0.95 or use is use_web else []
        server.chunks = greeting + [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)])]
        try:
            use(place, rng)
            answered += 1
        except DovecotError as error:
            assert len(str(error)) < 5000
            refused += 1
        except BaseException:
            print(f"seed {SEED}, input {number}, {use.__name__}: {data!r}")
            raise
    print(f"{total} answers over sockets, {refused} refused, seed {SEED}")
    assert refused > total / 5 and answered > total / 30


OPENING = {"replicator": (GREETING, use_socket), "userdb": (AUTH_GREETING, use_userdb)}


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"u\tnone\t1\t1\t0\t1\n" * 4096, b"\n" * 65536, b"\t" * 65536])
@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize("kind", OPENING)
def test_an_endless_answer_is_cut_off(unix, monkeypatch, kind, greeted, chunk):
    monkeypatch.setattr(line_socket, "LONGEST_ANSWER", 1 << 22)
    greeting, use = OPENING[kind]
    unix.chunks = itertools.chain([greeting, WHEN_ASKED] if greeted else [], itertools.repeat(chunk))
    place = unix.path if kind == "replicator" else unix.directory
    tracemalloc.start()
    try:
        with pytest.raises((DovecotError, ValueError)) as caught:
            for dummy in range(20):
                use(place, random.Random(dummy))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, DovecotError) and len(str(caught.value)) < 2000
    assert peak < 40 << 20, peak


def test_an_endless_body_is_cut_off(web, monkeypatch):
    monkeypatch.setattr(http_client, "LONGEST_ANSWER", 1 << 20)
    web.chunks = itertools.chain([WHEN_ASKED, HTTP_SEED + b"\r\n"], itertools.repeat(b"[" * 65536))
    with pytest.raises(DovecotError, match="an answer of more than"):
        HttpClient(HttpApi(web.url, "key", TIMEOUT)).users()


@pytest.mark.parametrize("greeted", [True, False])
@pytest.mark.parametrize("kind", OPENING)
def test_a_server_that_says_nothing(tmp_path, kind, greeted):
    greeting, use = OPENING[kind]
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / USERDB_SOCKET))
        listening.listen()
        began = time.monotonic()
        with contextlib.ExitStack() as opened:

            def serve():
                for _connection in range(2):
                    try:
                        connection = opened.enter_context(listening.accept()[0])
                    except OSError:
                        return
                    if greeted:
                        connection.sendall(greeting)

            threading.Thread(target=serve, daemon=True).start()
            opened.callback(listening.shutdown, socket.SHUT_RDWR)
            with pytest.raises(DovecotError, match="no answer in time"):
                if kind == "replicator":
                    SocketClient(str(tmp_path / USERDB_SOCKET), 0.2).users()
                else:
                    Userdb(str(tmp_path), 0.2).names()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    "answer, words",
    [
        (b"u\tnone\t1\t1\t0", "closed the connection"),
        (b"u\tnone\t1\t1\t0\t1\n", "closed the connection"),
        (b"u\tnone\t1\n\n", "no row of a user's status"),
        (b"u\tnone\t-5\t1\t0\t1\n\n", "no time: -5"),
        (b"u\tnone\t99999999999999\t1\t0\t1\n\n", "no time: 99999999999999"),
        (b"u\tnone\t" + b"9" * 5000 + b"\t1\t0\t1\n\n", "no number"),
        (b"u\tnone\t1_0\t1\t0\t1\n\n", "no number"),
        (b"u\tnone\t1\t1\t7\t1\n\n", "no row of a user's status"),
        (b"u\tsoon\t1\t1\t0\t1\n\n", "no row of a user's status"),
    ],
)
def test_what_is_no_status(unix, answer, words):
    unix.chunks = [GREETING, WHEN_ASKED, answer]
    with contextlib.closing(SocketClient(unix.path, TIMEOUT)) as client, pytest.raises(DovecotError, match=words):
        client.users()


@pytest.mark.parametrize("columns", [5, 6, 7, 9])
def test_rows_of_any_dovecot(unix, columns):
    unix.chunks = [
        GREETING,
        WHEN_ASKED,
        b"\t".join([b"\xff@x", b"low", b"3", b"2", b"1", b"4", b"5", b"6", b"7"][:columns]) + b"\n\n",
    ]
    with contextlib.closing(SocketClient(unix.path, TIMEOUT)) as client:
        (status,) = client.users().values()
    assert status.username == "\udcff@x" and status.failed and status.full_sync.time == 2
    assert status.next_sync == (5 if columns > 6 else None)
    assert status.successful_sync.time == (4 if columns > 5 else None)
