"""Ctrl-C beside results that are worth keeping."""

import signal
import threading

import pytest

from trtconv.core.interrupts import CtrlC


def press():
    signal.raise_signal(signal.SIGINT)


def test_it_raises_until_there_is_something_to_keep():
    with pytest.raises(KeyboardInterrupt), CtrlC():
        press()
    with CtrlC() as ctrl_c:
        ctrl_c.hold()
        press()
        assert ctrl_c.pressed.is_set()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_what_is_not_worth_waiting_for_ends_at_once_and_the_rest_goes_on():
    reached = []
    with CtrlC() as ctrl_c:
        ctrl_c.hold()
        with ctrl_c.dropping():
            reached.append("before")
            press()
            reached.append("after")
        assert ctrl_c.pressed.is_set()
    assert reached == ["before"]


@pytest.mark.parametrize("fails", [False, True])
def test_after_what_could_be_dropped_it_is_held_again(fails):
    with CtrlC() as ctrl_c:
        ctrl_c.hold()
        try:
            with ctrl_c.dropping():
                if fails:
                    raise ValueError
        except ValueError:
            pass
        press()
        assert ctrl_c.pressed.is_set()


def test_the_handler_before_is_there_again():
    before = signal.getsignal(signal.SIGINT)
    with CtrlC():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_another_thread_hears_nothing_and_changes_nothing():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work():
        with CtrlC() as ctrl_c:
            seen.append((signal.getsignal(signal.SIGINT), ctrl_c.pressed.is_set()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
