"""Tracebacks of errors, short enough for the record of a trial."""

from __future__ import annotations

from objectives.failures import LONGEST_TRACEBACK, short_traceback


def raise_at_depth(depth: int) -> None:
    if depth:
        raise_at_depth(depth - 1)
    raise ValueError("x" * 20 + "the reason")


def caught(error: type[Exception], depth: int) -> str:
    try:
        try:
            raise_at_depth(depth)
        except ValueError as cause:
            raise error("y" * 10) from cause
    except Exception as raised:
        return short_traceback(raised)


def test_an_error_is_shown_with_its_cause_and_the_last_calls() -> None:
    text = caught(RuntimeError, 50)
    cause, effect = text.split("direct cause")
    assert "the reason" in cause
    assert "in raise_at_depth" in cause
    assert "in caught" not in cause
    assert effect.endswith("RuntimeError: yyyyyyyyyy")


def test_of_a_long_traceback_the_end_is_kept() -> None:
    class Long(Exception):
        def __str__(self) -> str:
            return "z" * 10 * LONGEST_TRACEBACK + "the end"

    text = caught(Long, 1)
    assert len(text) <= LONGEST_TRACEBACK + 10
    assert text.endswith("the end")
