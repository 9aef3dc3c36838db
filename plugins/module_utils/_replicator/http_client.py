# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport ``http``: doveadm's HTTP API. PRIVATE to this collection.

This is urllib.request and not ansible.module_utils.urls, because that takes no directory as ca_path, would add 15 kB to
every module that is sent, also where no API is used, and takes 40 ms longer to import.
"""

import base64
import http.client
import json
import os
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any, Collection, Dict, Iterable, List, Mapping, NamedTuple, Optional, Set, Tuple, Type
from urllib.parse import urlsplit

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.errors import (
    DovecotError,
    Interrupted,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.line_socket import LONGEST_ANSWER
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._common.names import mask_matcher
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator import rows
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.client import ReplicatorClient
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.protocol import (
    DsyncSlot,
    UserStatus,
)
from ansible_collections.mailops.dovecot_replication.plugins.module_utils._replicator.userdb import (
    LISTING_FAILED,
    Account,
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

CHECK_LISTENER = (
    "check that Dovecot runs, that its `inet_listener http` has this address and port, and that no proxy of the "
    "environment stands in between (use_proxy: false)"
)
SEE_LOG = "look at Dovecot's log on that host"
NO_REPLICATOR = (
    "this Dovecot is 2.4 or later, and the replicator was removed in 2.4.0; or it is older than 2.3.17, whose API has "
    "no replicator commands yet",
    "before 2.3.17 use another transport; 2.4 has no replicator, and modules that run on the host ask its timer",
)
# Cause and cure by the status of a response.
HTTP_CURES: Dict[int, Tuple[str, str]] = {
    401: ("the key is wrong", "give the value of doveadm_api_key as api_key"),
    404: ("the path of the URL is wrong", "leave the path out of api_url"),
    500: ("Dovecot has neither doveadm_api_key nor doveadm_password", "set doveadm_api_key on that host"),
}

# A method of the API with its parameters.
Command = Tuple[str, Dict[str, Any]]


class ApiError(NamedTuple):
    """The API's refusal of one command.

    :arg type: such as ``exitCode``
    :arg code: the exit code of doveadm, None for other types
    """

    type: str
    code: Optional[int] = None


class HttpApi:
    """A doveadm HTTP API. Raises DovecotError.

    :arg url: of the listener; the path may be left out
    :arg key: doveadm_api_key
    :arg timeout: longest silence accepted, in seconds
    :arg ca_path: file or directory of the certificate authorities to trust; the system's when None
    :arg use_proxy: whether to go through the proxy that the environment names
    """

    def __init__(
        self,
        url: str,
        key: str,
        timeout: float,
        ca_path: Optional[str] = None,
        validate_certs: bool = True,
        use_proxy: bool = True,
    ) -> None:
        self.url = url
        self._timeout = timeout
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = None
        if not sound:
            raise DovecotError("Reading api_url", "%r is no URL of the form https://host:port" % url)
        self._endpoint = parts._replace(path=parts.path if parts.path.strip("/") else API_PATH, fragment="").geturl()
        context = _tls_context(ca_path, validate_certs) if parts.scheme == "https" else None
        self._opener = _opener(context, use_proxy)
        self._headers = {
            "Authorization": "X-Dovecot-API " + base64.b64encode(key.encode("utf-8")).decode("ascii"),
            "Content-Type": "application/json",
        }

    def call(self, method: str, **parameters: Any) -> Any:
        """Run one command and return its answer; raise DovecotError when it is refused."""
        (answer,) = self.call_all([(method, parameters)])
        if isinstance(answer, ApiError):
            raise self.refusal(method, answer)
        return answer

    def call_all(self, commands: Iterable[Command]) -> List[Any]:
        """Run (method, parameters) in order and return their answers, an ApiError for each that was refused."""
        answers: List[Any] = []
        ordered = list(commands)
        for start in range(0, len(ordered), BATCH):
            batch = ordered[start : start + BATCH]
            answers += self._answers(
                self._post([[method, given, str(tag)] for tag, (method, given) in enumerate(batch)])
            )
            if len(answers) != start + len(batch):
                raise self._failure("%d answers to %d commands" % (len(answers) - start, len(batch)), None, SEE_LOG)
        return answers

    def refusal(self, method: str, error: ApiError) -> DovecotError:
        """Return the DovecotError for a command that was refused."""
        if error.type == "unknownMethod":
            return self._failure("there is no command %s" % method, *NO_REPLICATOR)
        if error.type == "unAuthorized":
            return self._failure(
                "it does not allow the command %s" % method, "doveadm_allowed_commands leaves it out", "add it there"
            )
        return self._failure("%s was refused (%s %s)" % (method, error.type, error.code), None, SEE_LOG)

    def _post(self, commands: List[Any]) -> str:
        request = urllib.request.Request(self._endpoint, json.dumps(commands).encode("utf-8"), self._headers)
        try:
            with self._opened(request) as response:
                body = response.read(LONGEST_ANSWER + 1)
                status, reason = response.status, response.reason
        except urllib.error.URLError as error:
            raise self._no_answer(error.reason) from error
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise self._no_answer(error) from error
        if len(body) > LONGEST_ANSWER:
            raise self._failure("an answer of more than %d bytes" % LONGEST_ANSWER, None, "check who answers there")
        text: str = body.decode("utf-8", "surrogateescape")
        if status != 200:
            text = text[:SHOWN]
            answer = "%s %s%s" % (status, reason, ": " + text if text else "")
            raise self._failure(answer, *HTTP_CURES.get(status, (None, SEE_LOG)))
        return text

    def _opened(self, request: urllib.request.Request) -> Any:
        """Return the response, whatever its status."""
        try:
            return self._opener.open(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            return error

    def _no_answer(self, error: object) -> DovecotError:
        """Return the DovecotError for a request that was not answered in full.

        :arg error: an exception, or a text
        """
        if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionResetError)):
            return self._failure(
                "an empty reply",
                "the process that served the request died, most often because it cannot reach the replicator's socket",
                SEE_LOG + "; what the request asked for may have been done",
                Interrupted,
            )
        if isinstance(error, socket.timeout):
            return self._failure("no answer in time", None, CHECK_LISTENER)
        if isinstance(error, ssl.SSLError):
            return self._failure(
                error,
                "ca_path does not vouch for the certificate, it is not for this host name, or the listener has no TLS",
                "give the authority's certificate as ca_path, and in api_url the host name that the certificate is for",
            )
        if isinstance(error, (http.client.HTTPException, ValueError)):
            return self._failure("no sound HTTP: %.200r" % error, None, "check that api_url leads to Dovecot")
        kind = Interrupted if isinstance(error, ConnectionError) else DovecotError
        return self._failure(error, None, CHECK_LISTENER, kind)

    def _answers(self, body: str) -> List[Any]:
        try:
            return [_answer(kind, value) for kind, value, dummy in json.loads(body)]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._failure("no JSON that makes sense: %.200r" % body, None, SEE_LOG) from error

    def _failure(
        self, answer: object, cause: Optional[str], cure: str, kind: Type[DovecotError] = DovecotError
    ) -> DovecotError:
        return kind("Asking %s" % self.url, answer, cause, cure)


class HttpClient(ReplicatorClient):
    """``replicator`` over the API, since Dovecot 2.3.17."""

    def __init__(self, api: HttpApi, socket_path: Optional[str] = None) -> None:
        self._api = api
        self._common = {"socketPath": socket_path} if socket_path else {}

    def overview(self) -> Dict[str, int]:
        return self._read(rows.parse_overview, "replicatorStatus")

    def users(self, mask: str = "*") -> Dict[str, UserStatus]:
        return self._read(rows.parse_users, "replicatorStatus", userMask=mask)

    def dsyncs(self) -> List[DsyncSlot]:
        return self._read(rows.parse_slots, "replicatorDsyncStatus")

    def replicate(self, names: Iterable[str], priority: str) -> None:
        self._change("replicatorReplicate", [dict(self._common, userMask=name, priority=priority) for name in names])

    def remove(self, names: Iterable[str]) -> None:
        # "User not found" comes as the exit code of any wrong use; the text is only in the log.
        self._change("replicatorRemove", [dict(self._common, user=name) for name in names], accept=(USAGE,))

    def start_over(self, name: str, priority: str) -> None:
        # One request, so that nothing can come in between.
        dummy, answer = self._api.call_all(
            [
                ("replicatorRemove", dict(self._common, user=name)),
                ("replicatorReplicate", dict(self._common, userMask=name, priority=priority)),
            ]
        )
        if isinstance(answer, ApiError):
            raise self._api.refusal("replicatorReplicate", answer)

    def _read(self, parse: Any, method: str, **parameters: Any) -> Any:
        answer = self._api.call(method, **dict(self._common, **parameters))
        try:
            return parse(answer)
        except ValueError as error:
            raise DovecotError("Asking %s" % self._api.url, "cannot make sense of its answer, %s" % error) from error

    def _change(self, method: str, commands: Iterable[Dict[str, Any]], accept: Collection[int] = ()) -> None:
        for answer in self._api.call_all((method, parameters) for parameters in commands):
            if isinstance(answer, ApiError) and not (answer.type == "exitCode" and answer.code in accept):
                raise self._api.refusal(method, answer)


class HttpUserdb(Accounts):
    """The users that exist, by doveadm's ``user`` command over the API. Each request has its own connection."""

    def __init__(self, api: HttpApi) -> None:
        super().__init__()
        self._api = api

    def names(self, mask: str = "*") -> Set[str]:
        listing = self._api.call_all([("user", {"userMask": ["*"]})])[0]
        if isinstance(listing, ApiError):
            raise DovecotError("Asking %s for all users" % self._api.url, *LISTING_FAILED)
        try:
            return set(filter(mask_matcher(mask), map(rows.text_of, listing["userList"])))
        except (TypeError, KeyError):
            raise self._nonsense(listing) from None

    def _look_up(self, names: Collection[str]) -> Mapping[str, Optional[Account]]:
        # One unknown name hides the answers for all others, so each has a command of its own.
        ordered = sorted(names)
        answers = self._api.call_all(("user", {"userMask": [name]}) for name in ordered)
        return {name: self._account(name, answer) for name, answer in zip(ordered, answers)}

    def _account(self, name: str, answer: Any) -> Optional[Account]:
        if isinstance(answer, ApiError):
            if answer.code != NO_USER:
                raise self._api.refusal("user", answer)
            return None
        try:
            fields = answer.get(name)
            return None if fields is None else account_of(rows.text_of(fields.get("user", name)), fields)
        except (AttributeError, TypeError):
            raise self._nonsense(answer) from None

    def _nonsense(self, answer: object) -> DovecotError:
        return DovecotError("Asking %s for users" % self._api.url, "cannot make sense of its answer %.200r" % (answer,))


def _tls_context(ca_path: Optional[str], validate_certs: bool) -> ssl.SSLContext:
    try:
        if ca_path and os.path.isdir(ca_path):
            context = ssl.create_default_context(capath=ca_path)
        else:
            context = ssl.create_default_context(cafile=ca_path)
    except OSError as error:
        raise DovecotError(
            "Reading ca_path %s" % ca_path, error, cure="give a file with certificates in PEM"
        ) from error
    if not validate_certs:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Unasked:
    """Asks the server for no end of the connection, which it announces by itself.

    urllib always does. Asked so, Dovecot does not answer at all to a wrong key (measured on 2.3.21.1).
    """

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
        kept = {name: value for name, value in (headers or {}).items() if name != "Connection"}
        super().request(method, url, body, kept, **options)  # type: ignore[misc]


class _PlainConnection(_Unasked, http.client.HTTPConnection):
    pass


class _TlsConnection(_Unasked, http.client.HTTPSConnection):
    pass


class _PlainHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_PlainConnection, req)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_TlsConnection, req, context=self._context)  # type: ignore[attr-defined]


def _opener(context: Optional[ssl.SSLContext], use_proxy: bool) -> urllib.request.OpenerDirector:
    """Return what opens URLs. It follows no redirect, as the key would go with it."""
    opener = urllib.request.OpenerDirector()
    handlers = [
        urllib.request.ProxyHandler(None if use_proxy else {}),
        urllib.request.UnknownHandler(),
        _PlainHandler(),
        _TlsHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _answer(kind: str, value: Any) -> Any:
    if kind == "doveadmResponse":
        return value
    if not isinstance(value, dict):
        raise TypeError("no error")
    return ApiError(value["type"], value.get("exitCode"))
