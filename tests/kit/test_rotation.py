"""Rotation of the signing key: who pins any key of the chain follows it, and nobody else's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from muster.contracts.authority import KeyNotice
from muster.contracts.errors import Conflict
from muster.kit.identity.rotation import Rotation, follow
from muster.kit.identity.world import World

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def rotated(rotation: Rotation, days: int) -> None:
    """Do all three steps."""
    rotation.prepare(NOW + timedelta(days=days))
    rotation.switch()
    rotation.retire(NOW + timedelta(days=days, hours=1))


def accepted(keys: Path) -> list[str]:
    """Return the keys that services accept."""
    return (keys / "authority.pub").read_text().split()


def test_three_steps(tmp_path: Path) -> None:
    """At each of them it is known what signs and what is obeyed; opening changes nothing."""
    World.open(tmp_path)
    rotation = Rotation(tmp_path)
    (old,) = accepted(tmp_path)
    assert rotation.state == "steady"
    rotation.prepare(NOW)
    assert rotation.state == "prepared"
    assert accepted(tmp_path)[0] == old
    new = accepted(tmp_path)[1]
    rotation.prepare(NOW)  # as after a crash
    assert (len(rotation.notices()), accepted(tmp_path)) == (1, [old, new])
    World.open(tmp_path)
    rotation.switch()
    assert (rotation.state, accepted(tmp_path)) == ("switched", [new, old])
    World.open(tmp_path)
    with pytest.raises(Conflict):
        rotation.switch()
    with pytest.raises(Conflict):
        rotation.prepare(NOW)
    rotation.retire(NOW)
    assert (rotation.state, accepted(tmp_path)) == ("steady", [new])
    assert len(rotation.retired()) == 1
    with pytest.raises(Conflict):
        rotation.retire(NOW)
    assert (tmp_path / "authority.key").stat().st_mode & 0o777 == 0o600


def test_a_node_follows_from_wherever_it_stands(tmp_path: Path) -> None:
    """Also one that was away for three rotations; hearing it again changes nothing."""
    World.open(tmp_path)
    rotation = Rotation(tmp_path)
    stands = [accepted(tmp_path)]
    for number in range(3):
        rotated(rotation, number)
        stands.append(accepted(tmp_path))
    for pinned in stands:
        after = follow(pinned, rotation.notices())
        assert after == stands[-1]
        assert follow(after, rotation.notices()) == stands[-1]
    assert follow(stands[0], rotation.notices()[:1]) != stands[0]


def test_nobody_else_changes_what_is_pinned(tmp_path: Path) -> None:
    """Neither another server, nor a changed notice, nor one whose sealer is not pinned."""
    here, there = tmp_path / "here", tmp_path / "there"
    for place in (here, there):
        World.open(place)
        rotated(Rotation(place), 0)
    pinned = accepted(here)
    foreign = Rotation(there).notices()
    assert follow(pinned, foreign) == pinned
    genuine = Rotation(here).notices()
    evil = accepted(there)
    for notice in genuine:
        for change in ({"keys": evil}, {"at": NOW + timedelta(days=9)}, {"seal": "x"}):
            assert follow(pinned, [notice.model_copy(update=change)]) == pinned
    assert follow(pinned, [KeyNotice(keys=evil, at=NOW, seal="")]) == pinned
    assert follow([], genuine) == []
