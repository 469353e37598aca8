"""Another CA for the server: who trusts any of the chain follows it, and nobody else's."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from muster.contracts.authority import CaNotice
from muster.contracts.errors import Conflict
from muster.kit.files import write_private
from muster.kit.identity import authorities
from muster.kit.identity.authorities import (
    Authorities,
    follow,
    give_notice,
    hear,
    newest,
    supersedes,
)
from muster.kit.identity.certificates import (
    client_context,
    create_ca,
    fingerprint,
    issue_server,
    server_context,
    split,
)

NOW = datetime.now(UTC)
HOSTS = ["localhost", "127.0.0.1"]
STEPS = ("prepare", "switch", "retire")


@pytest.fixture
def here(tmp_path: Path) -> Authorities:
    """The authorities of a server that has just been started for the first time."""
    found = Authorities(tmp_path / "tls")
    found.open(HOSTS, NOW)
    return found


def step(place: Authorities, which: str) -> str:
    """Do one step; return what is trusted then."""
    getattr(place, which)(NOW)
    return place.bundle.read_text()


def trusts(place: Authorities, bundle: str) -> bool:
    """Whether who trusts *bundle* takes the server's certificate."""
    ours, theirs = socket.socketpair()
    listener = server_context(place.server, place.server)

    def serve() -> None:
        try:
            with listener.wrap_socket(theirs, server_side=True) as line:
                line.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client_context(bundle).wrap_socket(ours, server_hostname="localhost"):
            return True
    except ssl.SSLCertVerificationError:
        return False
    finally:
        ours.close()
        thread.join(timeout=10)


def test_three_steps(here: Authorities) -> None:
    """At each of them it is known who issues and who is trusted; a second try changes nothing."""
    old = here.bundle.read_text()
    assert (here.state, trusts(here, old)) == ("steady", True)
    with pytest.raises(Conflict):
        here.switch(NOW)
    with pytest.raises(Conflict):
        here.retire(NOW)
    both = step(here, "prepare")
    assert (here.state, split(both)[0]) == ("prepared", old)
    assert step(here, "prepare") == both
    assert trusts(here, old)
    turned = step(here, "switch")
    assert (here.state, split(turned)) == ("switched", split(both)[::-1])
    assert step(here, "switch") == turned
    assert trusts(here, both)
    assert not trusts(here, old)
    with pytest.raises(Conflict):
        here.prepare(NOW)
    new = step(here, "retire")
    assert (here.state, new) == ("steady", split(both)[1])
    assert trusts(here, new)
    with pytest.raises(Conflict):
        here.retire(NOW)
    for path in here.folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert not here.next.exists()


def test_a_server_without_a_ca_says_so(tmp_path: Path) -> None:
    """Instead of making one that nobody uses."""
    with pytest.raises(Conflict, match="no CA of its own"):
        Authorities(tmp_path / "tls").prepare(NOW)


def _crashing(number: int) -> Callable[[Path, str | bytes], None]:
    """Return a `write_private` that dies before it has written for the *number*-th time."""
    left = [number]

    def write(path: Path, content: str | bytes) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        write_private(path, content)

    return write


@pytest.mark.parametrize("which", STEPS)
@pytest.mark.parametrize("after", range(4))
def test_a_crash_between_two_files_leaves_a_server_that_works(
    here: Authorities, monkeypatch: pytest.MonkeyPatch, which: str, after: int
) -> None:
    """Who trusts what was told last takes its certificate; the next start or step finishes it."""
    known = here.bundle.read_text()
    for one in STEPS[: STEPS.index(which)]:
        known = step(here, one)
    with monkeypatch.context() as patch:
        patch.setattr(authorities, "write_private", _crashing(after))
        with suppress(KeyboardInterrupt):
            step(here, which)
    assert trusts(here, here.bundle.read_text())
    assert which == "retire" or trusts(here, known)
    here.open(HOSTS, NOW)
    assert trusts(here, here.bundle.read_text())
    for one in STEPS[STEPS.index(which) :]:
        if (one, here.state) != ("retire", "steady"):
            step(here, one)
    assert (here.state, len(here.trusted())) == ("steady", 1)
    assert trusts(here, here.bundle.read_text())
    assert known not in here.trusted()


def test_the_certificate_is_made_anew_in_time_and_by_the_one_that_issues(here: Authorities) -> None:
    """A month before its end, for another name, and if its key is lost; else it stays."""
    first = here.server.read_bytes()
    here.renew(NOW)
    here.open(["localhost"], NOW)
    assert here.server.read_bytes() == first
    here.renew(NOW + timedelta(days=336))
    second = here.server.read_bytes()
    assert second != first
    here.open([*HOSTS, "new.example"], NOW)
    third = here.server.read_bytes()
    assert third != second
    here.server.write_bytes(third.split(b"-----BEGIN PRIVATE")[0])
    (here.folder / "server.key").write_text("as earlier versions kept it")
    here.open(HOSTS, NOW)
    assert b"PRIVATE" in here.server.read_bytes()
    assert not (here.folder / "server.key").exists()


def stands(place: Authorities) -> list[str]:
    """Rotate twice; return everything that was trusted on the way, oldest first."""
    found = [place.bundle.read_text()]
    found += [step(place, one) for _ in range(2) for one in STEPS]
    return found


def test_nodes_only_go_forward(here: Authorities) -> None:
    """From any stand to any later one, and never back; `newest` is what they say they trust."""
    key = Ed25519PrivateKey.generate()
    public = [key.public_key().public_bytes_raw()]
    kinds = stands(here)
    del kinds[5], kinds[2]  # switching changes the order alone
    for old, pinned in enumerate(kinds):
        for new, told in enumerate(kinds):
            after = hear(pinned, give_notice(told, key), public)
            assert after == (told if new > old else pinned), (old, new)
    assert newest(kinds[0]) != newest(kinds[1]) == newest(kinds[2])
    assert newest("") == ""


def test_nobody_else_changes_what_a_node_trusts(here: Authorities) -> None:
    """Another key, a changed notice, garbage; and who speaks without TLS goes on doing so."""
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    public = [key.public_key().public_bytes_raw()]
    pinned = here.bundle.read_text()
    genuine = give_notice(step(here, "prepare"), key)
    evil = create_ca("evil", after=NOW).cert.decode()
    bad = [
        give_notice(genuine.ca, other),
        genuine.model_copy(update={"ca": evil}),
        genuine.model_copy(update={"ca": genuine.ca + evil}),
        genuine.model_copy(update={"seal": ""}),
        give_notice("", key),
        give_notice("no certificate", key),
        give_notice("-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n", key),
        CaNotice(ca="x" * (64 << 10), seal="x"),
        None,
    ]
    assert {hear(pinned, one, public) for one in bad} == {pinned}
    assert hear("", genuine, public) == ""
    assert not supersedes(pinned, pinned)


def test_a_command_line_follows_from_whatever_it_has_pinned(here: Authorities) -> None:
    """By vouchers alone, to the authority that issues; also over several that it has missed."""
    first = here.bundle.read_text()
    for _ in range(2):
        for one in STEPS:
            shown = step(here, one)
            found = follow(first, shown, here.vouchers())
            assert found == split(shown)[0]
            assert trusts(here, found)
    assert follow(here.bundle.read_text(), first, here.vouchers()) == ""  # and never back


def test_a_command_line_follows_nobody_else(here: Authorities, tmp_path: Path) -> None:
    """A stranger's CA, a server's certificate as a voucher, no voucher at all, garbage."""
    pinned = here.bundle.read_text()
    other = Authorities(tmp_path / "other")
    other.open(HOSTS, NOW)
    strange = other.bundle.read_text()
    theirs = step(other, "prepare")
    assert follow(pinned, strange, []) == ""
    assert follow(pinned, theirs, other.vouchers()) == ""
    server = split(here.server.read_text())[0]
    assert follow(pinned, server, [server]) == ""
    both = step(here, "prepare")
    assert follow(pinned, strange, here.vouchers()) == ""
    step(here, "switch")
    assert follow(pinned, split(both)[1], []) == ""
    assert follow(pinned, both, ["garbage"]) == ""
    assert follow("", both, here.vouchers()) == ""
    # what the server itself has been given makes nobody an authority
    key = issue_server(create_ca(), HOSTS)
    assert follow(pinned, key.cert.decode(), [server, *here.vouchers()]) == ""


def test_an_authority_that_has_expired_vouches_for_nobody(here: Authorities) -> None:
    """Nodes follow the seal still; a command line has to be shown the fingerprint again."""
    old = here.bundle.read_text()
    here.prepare(NOW + timedelta(days=4000))
    assert here.vouchers() == []
    assert fingerprint(old) == fingerprint(here.trusted()[0])


def test_an_authority_that_is_not_valid_yet_does_not_issue(here: Authorities) -> None:
    """Made while the clock was ahead: nobody would believe the server."""
    ahead = NOW + timedelta(days=400)
    later = create_ca("Muster CA later", after=ahead)
    here.prepare(NOW)
    trusted = here.trusted()
    write_private(here.next, later.cert + later.key)
    write_private(here.bundle, trusted[0] + later.cert.decode())
    before = here.key.read_bytes()
    with pytest.raises(Conflict, match="clock"):
        here.switch(NOW)
    assert here.key.read_bytes() == before


def test_a_lost_next_authority_is_not_retired_over(here: Authorities) -> None:
    """Nodes trust it already, and would pass over a bundle without it."""
    here.prepare(NOW)
    here.next.unlink()
    with pytest.raises(Conflict, match="restore it"):
        here.retire(NOW)
    assert len(here.trusted()) == 2


def test_a_command_line_pins_nothing_that_anybody_could_have_written(here: Authorities) -> None:
    """A certificate around the right name and key, that another key has signed."""
    pinned = here.bundle.read_text()
    step(here, "prepare")
    real = x509.load_pem_x509_certificate(here.trusted()[1].encode())
    forged = (
        x509.CertificateBuilder(
            real.issuer, real.subject, real.public_key(), 5, NOW, NOW + timedelta(minutes=10)
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(Ed25519PrivateKey.generate(), None)
        .public_bytes(Encoding.PEM)
        .decode()
    )
    assert follow(pinned, forged, here.vouchers()) == ""
    assert follow(pinned, here.trusted()[1], here.vouchers()) == here.trusted()[1]
