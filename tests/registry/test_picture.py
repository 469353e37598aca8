"""The picture: pages, searches, targets and changes, from memory."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.contracts.errors import Malformed, NotFound
from muster.contracts.names import new_node_id
from muster.contracts.nodes import (
    Address,
    DiskUse,
    Inventory,
    ListNodes,
    Metrics,
    NodeState,
    Targets,
)
from muster.kit import wire
from muster.registry.entry import Entry
from muster.registry.naming import complaint, unique
from muster.registry.picture import Picture
from muster.registry.view import View

NOW = datetime.now(UTC)
MEGABYTE = 1024 * 1024


def entry(name: str, state: NodeState = NodeState.ONLINE, **more: object) -> Entry:
    """Return a node."""
    values = {"public_key": f"U{name}", "joined": NOW, "state_since": NOW} | more
    return Entry(id=new_node_id(), name=name, state=state, **values)  # type: ignore[arg-type]


def picture(*entries: Entry) -> Picture:
    """Return a picture of some nodes."""
    made = Picture()
    for one in entries:
        made.add(one)
    return made


def measured(disks: list[DiskUse]) -> Metrics:
    """Return the metrics of an idle host."""
    return Metrics(cpu=1, memory_total=1, memory_used=1, disks=disks)


def names(made: Picture, **ask: object) -> list[str]:
    """Return all names of a list, over all its pages."""
    found, cursor = [], ""
    while True:
        page = View(made).page(ListNodes.model_validate({"cursor": cursor} | ask))
        found += [node.name for node in page.items]
        cursor = page.next
        if not cursor:
            return found


def test_pages_hang_together_while_nodes_come_and_go() -> None:
    """Who is there all the time is seen exactly once."""
    made = picture(*(entry(f"n{number:03d}") for number in range(100)))
    seen, cursor = [], ""
    for step in range(50):
        page = View(made).page(ListNodes(limit=7, cursor=cursor))
        seen += [node.name for node in page.items]
        cursor = page.next
        made.add(entry(f"a{step:03d}"))
        made.add(entry(f"n{step * 2:03d}x"))
        gone = made.by_name[f"n{(step * 7) % 100:03d}"]
        gone.state = NodeState.REVOKED
        if not cursor:
            break
    assert seen == sorted(seen)
    assert len(set(seen)) == len(seen)
    stayed = {one.name for one in made.by_id.values() if one.state is not NodeState.REVOKED}
    assert {name for name in stayed if name[0] == "n" and name[-1] != "x"} <= set(seen)


def test_a_search_looks_at_what_people_know() -> None:
    """Name, id, group, tag, host name, address, system; and not at revoked nodes."""
    inventory = Inventory(
        hostname="Host-A", os="Debian", addresses=[Address(interface="e", address="10.1.2.3")]
    )
    web = entry("web", groups=["eu"], tags={"env": "prod"}, inventory=inventory)
    db, out = entry("db", NodeState.OFFLINE), entry("out", NodeState.REVOKED)
    made = picture(web, db, out)
    for query in ("WEB", web.id, "eu", "env=prod", "host-a", "10.1.2", "debian"):
        assert names(made, query=query) == ["web"]
    assert names(made) == ["db", "web"]
    assert names(made, state="revoked") == ["out"]
    assert names(made, state="offline", query="d") == ["db"]
    assert names(made, query="*") == []


def test_every_page_fits_in_a_message() -> None:
    """Also when nodes tell very much of themselves; then a page ends early."""
    disks = [DiskUse(mount="漢" * 1000, total=1, used=1) for _ in range(50)]
    fat = Metrics(cpu=1, memory_total=1, memory_used=1, disks=disks)
    made = picture(*(entry(f"n{number:02d}", metrics=fat) for number in range(30)))
    pages, cursor = 0, ""
    while True:
        page = View(made).page(ListNodes(limit=1000, cursor=cursor))
        assert len(wire.pack(page)) < MEGABYTE
        pages, cursor = pages + 1, page.next
        if not cursor:
            break
    assert 5 < pages < 12
    assert names(made, limit=1000) == [f"n{number:02d}" for number in range(30)]
    parts = list(View(made).since(0, 100))
    assert all(len(wire.pack(part)) < MEGABYTE for part in parts)
    assert [node.name for part in parts for node in part.items] == names(made)


def test_ten_thousand_nodes_are_resolved_at_once() -> None:
    """By name, by id, or all: each once, ordered, quickly, and the answer fits in a message."""
    made = picture(*(entry(f"node-{number:05d}") for number in range(10_000)))
    everybody = list(made.by_name)
    begun = time.perf_counter()
    for targets in (Targets(names=everybody), Targets(all=True)):
        found = View(made).resolve(targets)
        assert [one.name for one in found.items] == sorted(everybody)
        assert len(wire.pack(found)) < MEGABYTE
    assert time.perf_counter() - begun < 3
    begun = time.perf_counter()
    with pytest.raises(NotFound, match="did you mean"):
        View(made).resolve(Targets(names=[f"nodee-{number:05d}" for number in range(10_000)]))
    assert time.perf_counter() - begun < 3


def test_a_node_that_is_named_twice_is_meant_once() -> None:
    """By name and by id."""
    web = entry("web")
    found = View(picture(web, entry("db"))).resolve(Targets(names=["web", web.id, "web"]))
    assert [one.id for one in found.items] == [web.id]


def test_nothing_chosen_never_means_all() -> None:
    """Neither nothing nor both at once."""
    made = picture(entry("web"))
    for targets in (
        Targets(),
        Targets(selector=""),
        Targets(names=["web"], all=True),
        Targets(names=["web"], selector="web"),
    ):
        with pytest.raises(Malformed, match="never means all"):
            View(made).resolve(targets)
    with pytest.raises(NotFound, match="no node has joined"):
        View(picture()).resolve(Targets(all=True))


def test_one_unknown_name_and_nobody_is_meant() -> None:
    """What was perhaps meant is told; a revoked node is not there."""
    made = picture(entry("web-01"), entry("out", NodeState.REVOKED))
    with pytest.raises(NotFound, match=r"web-10 \(did you mean web-01\?\)"):
        View(made).resolve(Targets(names=["web-01", "web-10"]))
    with pytest.raises(NotFound, match="out"):
        View(made).resolve(Targets(names=["out"]))
    assert [one.name for one in View(made).resolve(Targets(all=True)).items] == ["web-01"]


def test_a_selector_chooses_by_what_is_known() -> None:
    """Names, groups, tags and facts; a share of a disk is a share of each."""
    disks = [DiskUse(mount="/", total=100, used=50, free=5), DiskUse(mount="/d", total=9, used=0)]
    web = entry("web", tags={"role": "www"}, metrics=measured(disks), groups=["front"])
    debian = Inventory(hostname="db.local", os="Debian", os_family="debian")
    db = entry("db", NodeState.OFFLINE, inventory=debian)
    gone = entry("web-old", NodeState.REVOKED, groups=["front"])
    made = picture(web, db, gone)

    def chosen(text: str) -> list[str]:
        return [one.name for one in View(made).resolve(Targets(selector=text)).items]

    assert chosen("@front") == ["web"]
    assert chosen("web*, os.family=debian") == ["db", "web"]
    assert chosen("disk.free<10% and role=www") == ["web"]
    assert chosen("state=offline") == ["db"]
    assert chosen("all") == ["db", "web"]
    assert chosen(f"{db.id} or not db") == ["db", "web"]
    assert names(made, selector="web* or db", state=NodeState.OFFLINE) == ["db"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("@nobody", "no node fits"),
        ("web and not web", "no node fits"),
        ("wwb, db", r"no such node: wwb \(did you mean web\?\)"),
    ],
)
def test_a_selector_that_means_nobody_is_an_error(text: str, complaint: str) -> None:
    """A name that is written out in full has to be somebody's."""
    with pytest.raises(NotFound, match=complaint):
        View(picture(entry("web"), entry("db"))).resolve(Targets(selector=text))


def test_a_complaint_is_short() -> None:
    """However many names are wrong."""
    assert complaint([f"x{n}" for n in range(1000)], []).count(",") == 20


@given(st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,62}\Z"), st.integers(0, 120))
def test_a_name_is_made_unique(wanted: str, others: int) -> None:
    """As many times as needed, and never longer than a name may be."""
    taken: set[str] = set()
    for _ in range(others + 1):
        name = unique(wanted, taken)
        assert name not in taken
        assert len(name) <= 63
        taken.add(name)
    assert wanted in taken


def test_changes_are_told_from_any_number_on() -> None:
    """Each node once with its latest number; nothing is left out between two parts."""
    made = picture(*(entry(f"n{number}") for number in range(10)))
    assert made.seq == 10
    made.changed(made.by_name["n3"])
    parts = list(View(made).since(4, 3))
    assert [[node.name for node in part.items] for part in parts] == [
        ["n4", "n5", "n6"],
        ["n7", "n8", "n9"],
        ["n3"],
    ]
    assert [(part.seq, part.more) for part in parts] == [(7, True), (10, True), (11, False)]
    assert list(View(made).since(11, 3)) == list(View(made).since(99, 3)) == []


def test_the_fleet_in_numbers() -> None:
    """Revoked nodes are counted, but are not of the fleet."""
    made = picture(*(entry(state.value, state) for state in NodeState))
    found = View(made).stats()
    assert (found.nodes, found.online, found.offline, found.new, found.revoked) == (3, 1, 1, 1, 1)
