"""A function in a heap of its own: its result, its error, what is done meanwhile."""

from __future__ import annotations

import threading

import pytest

from trtconv.core import own_heap


def test_it_runs_in_another_thread_and_its_result_comes_back():
    threads = own_heap.call(lambda: (threading.current_thread(), 7), lambda: None, 10)
    assert threads[1] == 7
    assert threads[0] is not threading.current_thread()


def test_its_error_is_raised_here():
    with pytest.raises(KeyError, match="gone"):
        own_heap.call(lambda: {}["gone"], lambda: None, 10)


def test_meanwhile_is_called_in_this_thread_while_it_lasts_and_once_at_the_end():
    calls, enough = [], threading.Event()

    def meanwhile():
        calls.append(threading.current_thread())
        if len(calls) == 3:
            enough.set()

    assert own_heap.call(lambda: enough.wait(60), meanwhile, 0.01)
    assert len(calls) > 3
    assert set(calls) == {threading.current_thread()}
    calls.clear()
    own_heap.call(lambda: None, lambda: calls.append(1), 60)
    assert calls == [1]
