# SPDX-FileCopyrightText: The mailops.dovecot_replication contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a certificate and its key can serve under a name. PRIVATE to this collection."""

import ssl
from typing import Optional

# X509_V_FLAG_PARTIAL_CHAIN, which the ssl module names from Python 3.10 on: trust a certificate that is given as
# trusted, although it is not self-signed.
PARTIAL_CHAIN = 0x80000


def problem(certificate: str, key: str, name: str) -> Optional[str]:
    """Return why a client that calls this host by ``name`` would not accept the certificate, or None.

    A client and a server shake hands in memory; the client trusts whoever has signed. This proves that the files can
    be read, belong together, are valid now and are for the name.
    """
    try:
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A key with a passphrase fails instead of asking for it.
        server.load_cert_chain(certificate, key, password=lambda: "")
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.verify_flags |= PARTIAL_CHAIN
        client.load_verify_locations(certificate)
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = [
            client.wrap_bio(to_client, to_server, server_hostname=name),
            server.wrap_bio(to_server, to_client, server_side=True),
        ]
        while ends:
            ends = [end for end in ends if not _shakes_hands(end)]
    except ssl.CertificateError as error:
        return "the certificate %s would be refused: %s" % (certificate, getattr(error, "verify_message", error))
    except ssl.SSLError as error:
        return "the certificate %s and the key %s cannot be used together: %s" % (
            certificate,
            key,
            error.reason or "one of them is not in PEM format, or has a passphrase",
        )
    except (IOError, OSError) as error:
        return "the certificate %s or the key %s cannot be read: %s" % (certificate, key, error.strerror)
    return None


def _shakes_hands(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
        return True
    except ssl.SSLWantReadError:
        return False


def authority_problem(path: str) -> Optional[str]:
    """Return why a file of trusted certificates cannot be used, or None."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        return "%s has no certificate in it: %s" % (path, error.reason or "it is not in PEM format")
    except (IOError, OSError) as error:
        return "%s cannot be read: %s" % (path, error.strerror)
    return None
