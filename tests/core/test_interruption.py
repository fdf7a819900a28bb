"""Signals: a step whose state can be saved is finished first; a second signal does not wait."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from ddlabel.core import interruption
from ddlabel.core.interruption import Interrupted, deferred, on_signal, outlook


@pytest.fixture(autouse=True)
def no_signals():
    interruption.reset()
    yield
    interruption.reset()


def interrupt() -> None:
    on_signal(signal.SIGINT, None)


def terminate() -> None:
    on_signal(signal.SIGTERM, None)


@pytest.mark.parametrize(("send", "code"), [(interrupt, 130), (terminate, 143)])
def test_a_signal_ends_the_command_with_its_exit_code(send, code):
    with pytest.raises(Interrupted) as left:
        send()
    assert left.value.code == left.value.exit_code == code
    assert interruption.BEGINS_AGAIN in left.value.message


def test_a_signal_waits_for_the_end_of_a_step():
    finished = []

    def train() -> None:
        for step in range(3):
            if step == 1:
                interrupt()
            finished.append(step)
            interruption.leave_if_requested()

    with pytest.raises(Interrupted), deferred():
        train()
    assert finished == [0, 1]


def test_a_second_signal_does_not_wait():
    with deferred():
        interrupt()
        assert interruption.is_requested()
        with pytest.raises(Interrupted) as left:
            terminate()
        assert left.value.exit_code == 143
        interruption.reset()


def test_a_signal_while_the_command_ends_does_not_even_clean_up(monkeypatch):
    class Gone(BaseException):
        pass

    def leave_at_once(code):
        raise Gone(code)

    monkeypatch.setattr("os._exit", leave_at_once)
    with pytest.raises(Interrupted):
        interrupt()
    with pytest.raises(Gone, match="130"):
        terminate()


def test_a_signal_after_the_last_step_ends_the_command():
    with pytest.raises(Interrupted), deferred():
        interrupt()


def test_a_signal_does_not_wait_where_nothing_can_be_saved():
    with pytest.raises(Interrupted), deferred(enabled=False):
        interrupt()
    assert not interruption.is_requested()


def test_the_innermost_command_that_knows_says_what_is_next():
    with (
        pytest.raises(Interrupted) as left,
        outlook(lambda: "of the sweep"),
        outlook(lambda: "of the cell"),
        outlook(lambda: None),
    ):
        interrupt()
    assert left.value.message.endswith("of the cell")
    interruption.reset()
    with pytest.raises(Interrupted) as left:
        interrupt()
    assert "cell" not in left.value.message


def message_of_a_signal() -> str:
    with pytest.raises(Interrupted) as left:
        interrupt()
    interruption._state.interrupted = None
    return left.value.message


def test_what_a_finished_command_said_counts_while_its_outcome_is_printed():
    with outlook(lambda: "of the sweep"):
        with outlook(lambda: "of the cell"):
            pass
        assert message_of_a_signal() == "interrupted: of the sweep"
    assert message_of_a_signal() == "interrupted: of the sweep"
    with pytest.raises(ValueError, match="failed"), outlook(lambda: "of another"):
        raise ValueError("failed")
    interruption.reset()
    assert "begins again" in message_of_a_signal()


def test_a_worker_process_ignores_the_signals_of_its_parent(monkeypatch):
    monkeypatch.setattr(interruption, "_PROCESS", -1)
    interrupt()


def test_an_interruption_is_no_error_that_a_sweep_would_record():
    assert not issubclass(Interrupted, Exception)
    assert partial(Interrupted, signal.SIGINT, "x")().exit_code == 130
