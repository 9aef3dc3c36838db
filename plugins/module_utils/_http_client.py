# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport ``http``: doveadm's HTTP API. PRIVATE to this collection."""

import base64
import http.client
import json
import os
import ssl
from collections import namedtuple
from urllib.parse import urlsplit

from ansible_collections.mailops.dovecot_replication.plugins.module_utils import _rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._doveconf import UPGRADE_GUIDE
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._errors import DovecotError, Interrupted
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._line_socket import LONGEST_ANSWER
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._userdb import (
    LISTING_FAILED,
    Accounts,
    account_of,
)

API_PATH = "/doveadm/v1"
# Commands in a request. An empty reply loses the answers to all of them.
BATCH = 100

# How much of a refusal's text is passed on, in characters.
SHOWN = 500

# Exit codes of doveadm, as the API passes them on.
USAGE = 64
NO_USER = 67

SEE_LOG = "look at Dovecot's log on that host"
NO_REPLICATOR = (
    "this Dovecot is 2.4 or later, and the replicator was removed in 2.4.0; or it is older than 2.3.17, whose API has "
    "no replicator commands yet",
    "stay on Dovecot 2.3, and before 2.3.17 use another transport; for 2.4 see " + UPGRADE_GUIDE,
)
REMEDIES = {
    401: ("the key is wrong", "give the value of doveadm_api_key as api_key"),
    404: ("the path of the URL is wrong", "leave the path out of api_url"),
    500: ("Dovecot has neither doveadm_api_key nor doveadm_password", "set doveadm_api_key on that host"),
}

# The API's refusal of one command: ``type`` such as ``exitCode``, ``code`` the exit code.
ApiError = namedtuple("ApiError", ["type", "code"])


class HttpApi:
    """A doveadm HTTP API. Raises DovecotError.

    :arg url: of the listener; the path may be left out
    :arg key: doveadm_api_key
    :arg ca_path: file or directory of the certificate authorities to trust; the system's when None
    """

    def __init__(self, url, key, timeout, ca_path=None, validate_certs=True):
        self.url = url
        try:
            parts = urlsplit(url)
            self._host, self._port, self._timeout = parts.hostname, parts.port, timeout
            sound = parts.scheme in ("http", "https") and parts.hostname
        except ValueError:
            sound = False
        if not sound:
            raise DovecotError("Reading api_url", "%r is no URL of the form https://host:port" % url)
        self._path = parts.path if parts.path.strip("/") else API_PATH
        self._context = _tls_context(ca_path, validate_certs) if parts.scheme == "https" else None
        self._headers = {
            "Authorization": "X-Dovecot-API " + base64.b64encode(key.encode("utf-8")).decode("ascii"),
            "Content-Type": "application/json",
        }

    def call(self, method, **parameters):
        """Run one command and return its answer; raise DovecotError when it is refused."""
        (answer,) = self.call_all([(method, parameters)])
        if isinstance(answer, ApiError):
            raise self.refusal(method, answer)
        return answer

    def call_all(self, commands):
        """Run (method, parameters) in order and return their answers, an ApiError for each that was refused."""
        answers = []
        commands = list(commands)
        for start in range(0, len(commands), BATCH):
            batch = commands[start : start + BATCH]
            answers += self._answers(
                self._post([[method, given, str(tag)] for tag, (method, given) in enumerate(batch)])
            )
            if len(answers) != start + len(batch):
                raise self._failure("%d answers to %d commands" % (len(answers) - start, len(batch)), None, SEE_LOG)
        return answers

    def refusal(self, method, error):
        if error.type == "unknownMethod":
            return self._failure("there is no command %s" % method, *NO_REPLICATOR)
        if error.type == "unAuthorized":
            return self._failure(
                "it does not allow the command %s" % method, "doveadm_allowed_commands leaves it out", "add it there"
            )
        return self._failure("%s was refused (%s %s)" % (method, error.type, error.code), None, SEE_LOG)

    def _post(self, commands):
        if self._context:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        try:
            connection.request("POST", self._path, json.dumps(commands).encode("utf-8"), self._headers)
            response = connection.getresponse()
            body = response.read(LONGEST_ANSWER + 1)
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionResetError):
            raise self._failure(
                "an empty reply",
                "the process that served the request died, most often because it cannot reach the replicator's socket",
                SEE_LOG + "; what the request asked for may have been done",
                Interrupted,
            ) from None
        except ssl.SSLError as error:
            raise self._failure(
                error,
                "ca_path does not vouch for the certificate, it is not for this host name, or the listener has no TLS",
                "give the authority's certificate as ca_path, and in api_url the host name that the certificate is for",
            ) from error
        except http.client.HTTPException as error:
            raise self._failure("no sound HTTP: %.200r" % error, None, "check that api_url leads to Dovecot") from error
        except OSError as error:
            raise self._failure(
                "no answer in time" if isinstance(error, TimeoutError) or not error.errno else error,
                None,
                "check that Dovecot runs and that its `inet_listener http` has this address and port",
                Interrupted if isinstance(error, ConnectionError) else DovecotError,
            ) from error
        finally:
            connection.close()
        if len(body) > LONGEST_ANSWER:
            raise self._failure("an answer of more than %d bytes" % LONGEST_ANSWER, None, "check who answers there")
        body = body.decode("utf-8", "surrogateescape")
        if response.status != 200:
            body = body[:SHOWN]
            answer = "%s %s%s" % (response.status, response.reason, ": " + body if body else "")
            raise self._failure(answer, *REMEDIES.get(response.status, (None, SEE_LOG)))
        return body

    def _answers(self, body):
        try:
            return [_answer(kind, value) for kind, value, dummy in json.loads(body)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._failure("no JSON that makes sense: %.200r" % body, None, SEE_LOG) from error

    def _failure(self, answer, cause, cure, kind=DovecotError):
        return kind("Asking %s" % self.url, answer, cause, cure)


class HttpClient(ReplicatorClient):
    """``replicator`` over the API, since Dovecot 2.3.17."""

    def __init__(self, api, socket_path=None):
        self._api = api
        self._common = {"socketPath": socket_path} if socket_path else {}

    def overview(self):
        return self._read(_rows.parse_overview, "replicatorStatus")

    def users(self, mask="*"):
        return self._read(_rows.parse_users, "replicatorStatus", userMask=mask)

    def dsyncs(self):
        return self._read(_rows.parse_slots, "replicatorDsyncStatus")

    def replicate(self, names, priority):
        self._change("replicatorReplicate", [dict(self._common, userMask=name, priority=priority) for name in names])

    def remove(self, names):
        # "User not found" comes as the exit code of any wrong use; the text is only in the log.
        self._change("replicatorRemove", [dict(self._common, user=name) for name in names], accept=(USAGE,))

    def start_over(self, name, priority):
        # One request, so that nothing can come in between.
        dummy, answer = self._api.call_all(
            [
                ("replicatorRemove", dict(self._common, user=name)),
                ("replicatorReplicate", dict(self._common, userMask=name, priority=priority)),
            ]
        )
        if isinstance(answer, ApiError):
            raise self._api.refusal("replicatorReplicate", answer)

    def _read(self, parse, method, **parameters):
        answer = self._api.call(method, **dict(self._common, **parameters))
        try:
            return parse(answer)
        except ValueError as error:
            raise DovecotError("Asking %s" % self._api.url, "cannot make sense of its answer, %s" % error) from error

    def _change(self, method, commands, accept=()):
        for answer in self._api.call_all((method, parameters) for parameters in commands):
            if isinstance(answer, ApiError) and not (answer.type == "exitCode" and answer.code in accept):
                raise self._api.refusal(method, answer)


class HttpUserdb(Accounts):
    """The users that exist, by doveadm's ``user`` command over the API. Each request has its own connection."""

    def __init__(self, api):
        super(HttpUserdb, self).__init__()
        self._api = api

    def names(self, mask="*"):
        listing = self._api.call_all([("user", {"userMask": ["*"]})])[0]
        if isinstance(listing, ApiError):
            raise DovecotError("Asking %s for all users" % self._api.url, *LISTING_FAILED)
        try:
            return set(filter(mask_matcher(mask), map(_rows.text_of, listing["userList"])))
        except (TypeError, KeyError):
            raise self._nonsense(listing) from None

    def _look_up(self, names):
        # One unknown name hides the answers for all others, so each has a command of its own.
        names = sorted(names)
        answers = self._api.call_all(("user", {"userMask": [name]}) for name in names)
        return {name: self._account(name, answer) for name, answer in zip(names, answers)}

    def _account(self, name, answer):
        if isinstance(answer, ApiError):
            if answer.code != NO_USER:
                raise self._api.refusal("user", answer)
            return None
        try:
            fields = answer.get(name)
            return None if fields is None else account_of(_rows.text_of(fields.get("user", name)), fields)
        except (AttributeError, TypeError):
            raise self._nonsense(answer) from None

    def _nonsense(self, answer):
        return DovecotError("Asking %s for users" % self._api.url, "cannot make sense of its answer %.200r" % (answer,))


def _tls_context(ca_path, validate_certs):
    place = "capath" if ca_path and os.path.isdir(ca_path) else "cafile"
    try:
        context = ssl.create_default_context(**{place: ca_path})
    except OSError as error:
        raise DovecotError(
            "Reading ca_path %s" % ca_path, error, cure="give a file with certificates in PEM"
        ) from error
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _answer(kind, value):
    if kind == "doveadmResponse":
        return value
    if not isinstance(value, dict):
        raise TypeError("no error")
    return ApiError(value["type"], value.get("exitCode"))
