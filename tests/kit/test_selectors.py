"""Selectors: one grammar for which nodes are meant, and no mistake that means all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.contracts.errors import Malformed
from muster.kit.selectors import LONGEST, Facts, parse

WEB = Facts(
    id="naaaaaaaaaaaaaaaa",
    name="web1",
    groups=["web", "rack-7"],
    tags={"prod": "yes", "role": "front"},
    more={
        "os.family": "debian",
        "state": "online",
        "cpu": 93.0,
        "cores": 8,
        "memory": 8 * 1024.0**3,
        "memory.free": 1024.0**3,
        "memory.free%": 12.5,
        "disk.free": [5 * 1024.0**3, 100 * 1024.0**3],
        "disk.free%": [4.0, 60.0],
        "uptime": 3 * 86400.0,
        "address": ["10.0.0.7", "fe80::1"],
    },
)
OTHER = Facts(id="nbbbbbbbbbbbbbbbb", name="db-2")


@pytest.mark.parametrize(
    "text",
    [
        "web1",
        "WEB1",
        "w?b*",
        "naaaaaaaaaaaaaaaa",
        "name=web*",
        "db1,web1",
        "db1 or web1",
        "@web",
        "@rack-*",
        "group=web",
        "tag=prod",
        "prod=yes",
        "role=front",
        'role="front"',
        "role in (db, front)",
        "role!=db",
        "not role=db",
        "not not web1",
        "os.family=Debian",
        "os.family in (rhel,deb*)",
        "address=10.0.*",
        "state=online and cpu>90",
        "cpu>=93%",
        "cores=8",
        "memory>4G",
        "memory=8GiB",
        "memory.free<=1024m",
        "memory.free<20%",
        "disk.free<10%",
        "disk.free<10G",
        "uptime>2d",
        "uptime<1w",
        "os.family=debian and not (role in (db,cache) or disk.free>90%)",
        "db1, web* and role=front",
        "all",
        "*",
    ],
)
def test_a_selector_finds_a_node(text: str) -> None:
    """Names, groups, tags, facts with units; `and` binds closer than `or`."""
    assert parse(text).matches(WEB)
    assert parse(f"not ({text})").matches(WEB) is False


@pytest.mark.parametrize(
    "text",
    [
        "web",
        "web1 and @db",
        "@we",
        "tag=prod and role=back",
        "nobody=here",
        "cpu>99",
        "uptime>1w",
        "disk.used>1%",
        "not all",
        "(web1 or db1) and not web1",
    ],
)
def test_a_selector_leaves_a_node_out(text: str) -> None:
    """What is not known of a node does not fit."""
    assert not parse(text).matches(WEB)


def test_what_a_node_says_of_itself_is_no_tag() -> None:
    """A fact's name never means a tag, and the other way round: neither can pose as the other."""
    liar = Facts(
        id=OTHER.id, name="x", tags={"os.family": "debian"}, more={"role": "front", "prod": "1"}
    )
    assert not parse("os.family=debian").matches(liar)
    assert not parse("role=front or tag=prod").matches(liar)
    assert parse("os.family=debian and @web or uptime>3").facts == {"os.family", "uptime"}
    assert parse("role=front, @web, web*").facts == frozenset()


def test_names_in_full_are_told() -> None:
    """Whoever resolves a selector can complain of a name that no node has."""
    assert parse("web1, db-2 and not old7 or web*").names == {"web1", "db-2", "old7"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("   ", "empty"),
        (",", "expected a name"),
        ("web1,", "found the end"),
        ("web1 web2", "'web2' at character 6"),
        ("not", "found the end"),
        ("and", "'and' at character 1"),
        ("(web1", "`\\)`"),
        ("web1)", "'\\)'"),
        ("role=", "expected a value"),
        ("role in db", "list"),
        ("role in (", "expected a value"),
        ("role in (a b)", "`,` or `\\)`"),
        ("role<5", "has no order"),
        ("disk.free<lots", "10G or 10%"),
        ("cores>10%", "like 4"),
        ("uptime>3y", "like 2d"),
        ('"open', "belongs nowhere"),
        ("web1 !", "belongs nowhere"),
        ("(" * 50 + "a" + ")" * 50, "levels"),
        ("a" * (LONGEST + 1), "characters"),
    ],
)
def test_a_mistake_is_an_error_that_says_where(text: str, said: str) -> None:
    """It names the place and what was expected; it never selects anything."""
    with pytest.raises(Malformed, match=said):
        parse(text)


@given(st.text(max_size=60) | st.text(alphabet='ab*@=<>!(),"% 1andorti.', max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """No text breaks the parser, and what it understands can be asked of any node."""
    try:
        selector = parse(text)
    except Malformed:
        return
    assert selector.matches(WEB) in {True, False}
    assert selector.matches(OTHER) in {True, False}
