from __future__ import annotations

from wcp360.engine.pace import FIRST, FIXED_SECONDS, LEAST, MOST, RUN_SECONDS, Pace


def settle(seconds_each: float) -> int:
    """Let a node make full runs for a while, each target taking so long; return how many it takes up then."""
    pace = Pace()
    for _ in range(40):
        targets = pace.limit("n")
        pace.learn("n", targets, FIXED_SECONDS + targets * seconds_each)
    return pace.limit("n")


def test_runs_come_to_take_as_long_as_they_shall() -> None:
    assert abs(settle(0.05) * 0.05 + FIXED_SECONDS - RUN_SECONDS) < 0.5
    assert settle(0.0001) == MOST
    assert settle(10.0) == LEAST


def test_a_small_run_says_nothing_about_a_full_one() -> None:
    pace = Pace()
    pace.learn("n", 2, 30.0)
    assert pace.limit("n") == FIRST


def test_nodes_are_as_fast_as_they_are() -> None:
    pace = Pace()
    pace.learn("slow", FIRST, 60.0)
    assert pace.limit("slow") == FIRST // 2 and pace.limit("other") == FIRST
