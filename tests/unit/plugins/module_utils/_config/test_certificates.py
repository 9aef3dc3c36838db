# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later

import subprocess

import pytest

from ansible_collections.mailops.dovecot_replication.plugins.module_utils._config import certificates


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Certificates for mx1.example.org and 10.1.2.3: self-signed, signed by it, and out of date; two keys."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments, stdin=None):
        done = subprocess.run(["openssl", *arguments], cwd=directory, input=stdin, capture_output=True, check=True)
        return done.stdout

    names = "subjectAltName=DNS:mx1.example.org,IP:10.1.2.3"
    (directory / "extensions").write_text(names)
    subject = ["-subj", "/CN=mx1.example.org"]
    for key in ("one", "other"):
        openssl("genrsa", "-out", f"{key}.key", "2048")
    openssl("req", "-x509", "-key", "one.key", "-days", "2", "-out", "self.pem", *subject, "-addext", names)
    request = openssl("req", "-new", "-key", "other.key", *subject)
    signing = ["x509", "-req", "-CA", "self.pem", "-CAkey", "one.key", "-CAcreateserial", "-extfile", "extensions"]
    openssl(*signing, "-days", "2", "-out", "signed.pem", stdin=request)
    openssl(*signing, "-days", "-1", "-out", "old.pem", stdin=request)
    openssl("rsa", "-in", "one.key", "-aes128", "-passout", "pass:secret", "-out", "locked.key")
    return directory


@pytest.mark.parametrize(
    "certificate, key, name, problem",
    [
        ("self.pem", "one.key", "mx1.example.org", None),
        ("signed.pem", "other.key", "mx1.example.org", None),
        ("self.pem", "one.key", "10.1.2.3", None),
        ("self.pem", "one.key", "mx2.example.org", "would be refused: "),
        ("self.pem", "one.key", "10.1.2.4", "would be refused: "),
        ("old.pem", "other.key", "mx1.example.org", "certificate has expired"),
        ("self.pem", "other.key", "mx1.example.org", "cannot be used together: KEY_VALUES_MISMATCH"),
        ("self.pem", "locked.key", "mx1.example.org", "has a passphrase"),
        ("one.key", "one.key", "mx1.example.org", "not in PEM format"),
        ("nosuch.pem", "one.key", "mx1.example.org", "cannot be read: No such file"),
    ],
)
def test_problem(made, certificate, key, name, problem):
    found = certificates.problem(str(made / certificate), str(made / key), name)
    assert found is None if problem is None else problem in found


def test_authority_problem(made):
    assert certificates.authority_problem(str(made / "self.pem")) is None
    assert "cannot be read: No such file" in certificates.authority_problem(str(made / "nosuch.pem"))
    assert "has no certificate in it" in certificates.authority_problem(str(made / "one.key"))
