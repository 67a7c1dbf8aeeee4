"""A process's search for a place in memory where decoding is fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from trtconv.data import settling


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> list[bytearray]:
    found: list[bytearray] = []
    monkeypatch.setattr(settling, "_kept", found)
    return found


def measured(monkeypatch: pytest.MonkeyPatch, times: list[float]) -> Iterator[float]:
    given = iter(times)
    monkeypatch.setattr(settling, "_seconds", lambda work: next(given))
    return given


@pytest.mark.parametrize(
    ("times", "rest"),
    [
        ([0.5] * 40, 32),  # all places are alike: enough are tried to know
        ([0.8] * 7 + [0.5] + [0.8] * 32, 32),
        ([0.8, 0.5] + [0.8] * 10 + [0.52] + [0.8] * 27, 27),  # it was passed: the next one as good
        ([0.5] + [0.8] * 50, 11),  # there is no other
    ],
)
def test_it_ends_at_a_good_place(
    monkeypatch: pytest.MonkeyPatch, kept: list[bytearray], times: list[float], rest: int
) -> None:
    left = measured(monkeypatch, times)
    settling.settle(lambda: None)
    assert len(list(left)) == rest
    assert len(kept) == 2 * (len(times) - rest - 1)


def test_slow_work_is_not_tried_for_long(monkeypatch: pytest.MonkeyPatch, kept: list[bytearray]) -> None:
    monkeypatch.setattr(settling, "_PATIENCE", 0.0)
    left = measured(monkeypatch, [0.5] * 3)
    settling.settle(lambda: None)
    assert len(list(left)) == 2
    assert not kept


def test_the_shortest_of_some_runs_counts() -> None:
    lasting = iter([0.05, 0.0, 0.05])
    assert settling._seconds(lambda: time.sleep(next(lasting))) < 0.04


def test_memory_can_be_kept_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling.ctypes, "CDLL", lambda name: object())
    settling.keep_memory()
