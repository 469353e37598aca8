"""TLS with the server's own authority: who trusts it trusts no other, and checks the name."""

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from muster.kit.identity import certificates
from muster.kit.identity.certificates import Issued

CA = certificates.create_ca()
HOSTS = ["localhost", "127.0.0.1", "::1", "muster.example"]


def shake(tmp_path: Path, server: Issued, ca: Issued, name: str) -> str:
    """Connect over TLS; returns the version spoken, or raises what the client raises."""
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    cert.write_bytes(server.cert)
    key.write_bytes(server.key)
    ours, theirs = socket.socketpair()
    listener = certificates.server_context(cert, key)

    def serve() -> None:
        try:
            with listener.wrap_socket(theirs, server_side=True) as line:
                line.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        context = certificates.client_context(ca.cert.decode())
        with context.wrap_socket(ours, server_hostname=name) as line:
            return str(line.version())
    finally:
        ours.close()
        thread.join(timeout=10)


@pytest.mark.parametrize("name", HOSTS)
def test_every_name_of_the_server_is_good(tmp_path: Path, name: str) -> None:
    """Names and addresses, of both kinds."""
    server = certificates.issue_server(CA, HOSTS)
    assert shake(tmp_path, server, CA, name) in {"TLSv1.2", "TLSv1.3"}


def test_a_foreign_authority_is_not_trusted(tmp_path: Path) -> None:
    """Even if it has the same name."""
    server = certificates.issue_server(certificates.create_ca(), HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, server, CA, "localhost")


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2", "a.muster.example"])
def test_another_name_is_not_trusted(tmp_path: Path, name: str) -> None:
    """A certificate is of the names that stand in it."""
    server = certificates.issue_server(CA, HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, server, CA, name)


def test_an_expired_certificate_is_not_trusted(tmp_path: Path) -> None:
    """What was good once is not good now."""
    server = certificates.issue_server(CA, HOSTS, days=0)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(tmp_path, server, CA, "localhost")


def test_a_server_is_no_authority(tmp_path: Path) -> None:
    """The key of a server cannot make servers that are trusted."""
    stolen = certificates.issue_server(CA, HOSTS)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, certificates.issue_server(stolen, HOSTS), CA, "localhost")


def test_it_is_known_when_a_certificate_must_be_made_anew() -> None:
    """When a name is missing, or when less than 30 days are left."""
    cert, now = certificates.issue_server(CA, HOSTS).cert, datetime.now(UTC)
    assert certificates.serves(cert, HOSTS, now)
    assert certificates.serves(cert, ["::1"], now)
    assert not certificates.serves(cert, [*HOSTS, "new.example"], now)
    assert not certificates.serves(cert, HOSTS, now + timedelta(days=336))


def test_a_fingerprint_is_of_one_certificate() -> None:
    """The one that a person compares: the same for text and bytes, other for another one."""
    mine = certificates.fingerprint(CA.cert)
    assert mine == certificates.fingerprint(CA.cert.decode())
    assert len(mine) == 64
    assert mine != certificates.fingerprint(certificates.create_ca().cert)
