"""Certificates of hosts: which are good, what is believed of them, and who has the key."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from muster.contracts.errors import Denied, Malformed
from muster.kit.identity.vetting import Vetting, pem_of, proves, signed
from tests.papers import SERVER, HostCa, Paper, new_key

CA = HostCa()
NOW = datetime.now(UTC)


def vetting(*names: str, ca: HostCa = CA, lists: bytes | None = None) -> Vetting:
    """Trust a CA."""
    return Vetting.of(ca.pem.encode(), lists, names)


@pytest.mark.parametrize("kind", ["ec", "ed25519", "rsa2048", "rsa3072"])
def test_a_good_one_and_its_key(kind: str) -> None:
    """Of every kind of key; what another key has signed proves nothing."""
    paper, other = CA.issue("web1", "web1.example", kind=kind), CA.issue(kind=kind)
    found = vetting().vet(paper.pem, NOW)
    assert (found.name, found.subject) == ("web1.example", "CN=web1")
    assert found.serial == f"{paper.cert.serial_number:x}"
    made = signed(paper.pem, paper.secret, b"text")
    assert proves(paper.pem, b"text", made)
    assert not proves(paper.pem, b"another text", made)
    assert not proves(other.pem, b"text", made)
    assert not proves(paper.pem, b"text", b"")
    with pytest.raises(Malformed, match="not that of the certificate"):
        signed(paper.pem, other.secret, b"text")


def _bad() -> dict[str, tuple[Paper, str]]:
    leaf = CA.issue("leaf")
    pretender = HostCa("Pretender", key=leaf.key)
    pretender.cert = leaf.cert
    return {
        "another CA": (HostCa().issue(), "may join here"),
        "expired": (CA.issue(begins=-48, hours=-24), "has expired"),
        "not yet valid": (CA.issue(begins=1), "not valid yet"),
        "for servers": (CA.issue(usage=[SERVER]), "clientAuth|may join here"),
        "for nothing": (CA.issue(usage=[]), "may join here"),
        "may not sign": (CA.issue(signs=False), "may join here"),
        "a CA": (CA.issue(ca=True), "may join here"),
        "made by a host": (pretender.issue(), "may join here"),
        "a short key": (CA.issue(kind="rsa1024"), "2048 bits"),
        "no certificate": (leaf, "no certificate"),
    }


BAD = _bad()


@pytest.mark.parametrize("what", BAD)
def test_a_bad_one_is_refused_and_says_why(what: str) -> None:
    """Whatever is wrong with it, and whatever else is sent along."""
    paper, why = BAD[what]
    text = "garbage" if what == "no certificate" else paper.pem
    with pytest.raises(Denied, match=why):
        vetting().vet(text, NOW)
    if what != "no certificate":
        with pytest.raises(Denied, match=why):
            vetting().vet(text + CA.issue("leaf").pem + CA.pem, NOW)


def test_a_ca_between_is_sent_along() -> None:
    """The host sends what leads to the CA that is trusted; without it there is no way."""
    below = HostCa("Rack 3", above=CA)
    paper = below.issue()
    assert vetting().vet(paper.pem + below.pem, NOW).name == "web1.example"
    with pytest.raises(Denied):
        vetting().vet(paper.pem, NOW)
    with pytest.raises(Denied, match="more than 8"):
        vetting().vet(paper.pem + below.pem * 8, NOW)


NAMES = {
    "web1.PROD.example": "web1.prod.example",
    "db.example": "",
    "x.prod.example.evil": "",
    "*.prod.example": "",
    "a b.prod.example": "",
    "\x1b[2Jx.prod.example": "",
    "..prod.example": "",
    "-x.prod.example": "",
    "x\n.prod.example": "",
    "é.prod.example": "",
    "x" * 64: "",
}


@pytest.mark.parametrize("name", NAMES)
def test_only_names_of_hosts_that_fit_are_believed(name: str) -> None:
    """From the common name, where there is nothing better: strange texts are no names."""
    paper, strict = CA.issue(name), vetting("*.PROD.example")
    if wanted := NAMES[name]:
        assert strict.vet(paper.pem, NOW).name == wanted
    else:
        with pytest.raises(Denied, match="no host name"):
            strict.vet(paper.pem, NOW)


def test_alternative_names_go_first() -> None:
    """The first that fits; the common name, which may be anything, counts no longer."""
    paper = CA.issue("x.prod.example", "*.prod.example", "web9.test", "web9.prod.example")
    assert vetting("*.prod.example").vet(paper.pem, NOW).name == "web9.prod.example"
    assert vetting().vet(paper.pem, NOW).name == "web9.test"
    with pytest.raises(Denied, match="no host name"):
        vetting("x.*").vet(paper.pem, NOW)


def test_a_constrained_ca_names_nobody_by_the_common_name() -> None:
    """What a CA may not name is checked for alternative names alone."""
    inside = x509.NameConstraints([x509.DNSName("dev.example")], None)
    below = HostCa("Development", above=CA, constraints=inside)
    good = below.issue("x", "a.dev.example")
    assert vetting().vet(good.pem + below.pem, NOW).name == "a.dev.example"
    for bad in (below.issue("db.prod.example"), below.issue("x", "db.prod.example")):
        with pytest.raises(Denied):
            vetting().vet(bad.pem + below.pem, NOW)


def test_what_has_been_revoked_is_refused() -> None:
    """By a list that its issuer has signed and that is current; without one nobody comes in."""
    good, bad = CA.issue(), CA.issue()
    lists = CA.revoking(bad)
    assert vetting(lists=lists).vet(good.pem, NOW)
    with pytest.raises(Denied, match="has been revoked"):
        vetting(lists=lists).vet(bad.pem, NOW)
    for useless in (b"", HostCa().revoking(), CA.revoking(hours=-1)):
        with pytest.raises(Denied, match="no current revocation list"):
            vetting(lists=useless).vet(good.pem, NOW)
    below = HostCa("Rack 3", above=CA)
    both = lists + below.revoking()
    assert vetting(lists=both).vet(below.issue().pem + below.pem, NOW)
    closed = CA.revoking(Paper(below.cert, below.key)) + below.revoking()
    with pytest.raises(Denied, match="has been revoked"):
        vetting(lists=closed).vet(below.issue().pem + below.pem, NOW)


def test_files_that_are_no_certificates_are_named() -> None:
    """At the host, before anything is sent."""
    paper = CA.issue()
    assert pem_of(paper.secret + paper.pem.encode()) == paper.pem
    with pytest.raises(Malformed, match="no certificate"):
        pem_of(b"x")
    with pytest.raises(Malformed, match="without a password"):
        signed(paper.pem, b"x", b"")
    with pytest.raises(Malformed, match="not that of the certificate"):
        signed(paper.pem, Paper(paper.cert, new_key()).secret, b"")
    with pytest.raises(ValueError, match=r"."):
        Vetting.of(b"x", None, ())
    later = NOW + timedelta(days=9)
    with pytest.raises(Denied, match="has expired"):
        vetting().vet(paper.pem, later)
