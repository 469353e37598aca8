"""Who shouts is not listened to; who floods is reported; nobody else is affected."""

from muster.kit.flooding import FLOOD, MOST, Flooding, Pace


def test_only_so_much_is_taken_from_each_node() -> None:
    """In each second anew; another node has a second of its own."""
    now = [100.0]
    reported: list[str] = []
    flooding = Flooding(reported.append, clock=lambda: now[0])
    taken = sum(flooding.admits("loud") for _ in range(FLOOD - 1))
    assert (taken, reported) == (MOST, [])
    assert flooding.admits("quiet")
    assert not flooding.admits("loud")
    assert reported == ["loud"]
    assert not any(flooding.admits("loud") for _ in range(FLOOD))
    assert reported == ["loud"]
    now[0] += 1.0
    assert flooding.admits("loud")


def test_a_pace_is_kept_by_each_node() -> None:
    """Beyond it is too often, until the next second."""
    now = [0.0]
    pace = Pace(2, clock=lambda: now[0])
    assert [pace.admits("a") for _ in range(3)] == [True, True, False]
    assert pace.admits("b")
    now[0] += 1.5
    assert pace.admits("a")
