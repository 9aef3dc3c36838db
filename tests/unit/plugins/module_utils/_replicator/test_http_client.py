# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP client against servers on the loopback: proxies, redirects, and how answers fail."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.http_client import HttpApi

ANSWER = b'[["doveadmResponse", [], "0"]]'
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@contextlib.contextmanager
def served(status=200, body=ANSWER, headers=(), silent=False):
    """Serve one answer to all requests; yield the URL and the list of (path, key) that were asked for."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.rfile.read(int(self.headers["Content-Length"]))
            if silent:
                return
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy_of_ours(monkeypatch):
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("path", ["", "/"])
def test_the_path_may_be_left_out(path):
    with served() as (url, asked):
        assert HttpApi(url + path, "key", 5).call("user") == []
    assert asked == [("/doveadm/v1", "X-Dovecot-API a2V5")]


def test_a_proxy_of_the_environment(monkeypatch):
    with served() as (proxy, asked):
        monkeypatch.setenv("http_proxy", proxy)
        assert HttpApi("http://mx1.invalid:8080", "key", 5).call("user") == []
    assert [path for path, dummy in asked] == ["http://mx1.invalid:8080/doveadm/v1"]


@pytest.mark.parametrize("variables, use_proxy", [({}, False), ({"no_proxy": "127.0.0.1"}, True)])
def test_no_proxy(monkeypatch, variables, use_proxy):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with served() as (url, dummy):
        assert HttpApi(url, "key", 5, use_proxy=use_proxy).call("user") == []


def test_a_proxy_that_is_down_is_named_as_a_cause(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with pytest.raises(DovecotError, match="use_proxy: false"):
        HttpApi("http://mx1.invalid:8080", "key", 5).call("user")


def test_the_key_goes_to_no_other_place():
    with served() as (other, asked):
        with served(302, b"", [("Location", other)]) as (url, dummy):
            with pytest.raises(DovecotError, match="302"):
                HttpApi(url, "key", 5).call("user")
    assert asked == []


@pytest.mark.parametrize(
    "answer, kind, words",
    [
        (dict(status=401), DovecotError, "the key is wrong"),
        (dict(status=404), DovecotError, "leave the path out"),
        (dict(status=503, body=b"x" * 5000), DovecotError, "503"),
        (dict(body=b"no JSON"), DovecotError, "no JSON that makes sense"),
        (dict(silent=True), Interrupted, "an empty reply"),
    ],
)
def test_answers_that_fail(answer, kind, words):
    with served(**answer) as (url, dummy):
        with pytest.raises(DovecotError, match=words) as caught:
            HttpApi(url, "key", 5).call("user")
    assert caught.type is kind and len(str(caught.value)) < 1500


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://mx1", "http://", "http://mx1:port", "http://mx1:99999"])
def test_what_is_no_url(url):
    with pytest.raises(DovecotError, match="https://host:port"):
        HttpApi(url, "key", 5)
