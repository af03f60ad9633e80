"""Who drives a search: a sign of life in the study, and the request to stop.

Both are in the study's database, so that whoever reaches it can ask and tell: a second process, a
service, another machine.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from search.study import BusyStudy, Study

DRIVER = "tlc:driver"
STOP = "tlc:stop"
RUN = "TLC_RUN"
"""Environment variable that names the run of a process that was started to drive a search."""

SIGN_SECONDS = 5.0
"""Seconds between two signs of life."""
ASK_SECONDS = 1.0
"""Seconds between two looks at whether to stop."""
LOST_SECONDS = 30.0
"""Seconds without a sign of life after which a driver is taken for dead."""

State = Literal["new", "running", "stopped", "finished", "failed", "lost"]


@dataclass(frozen=True)
class Driver:
    """A process that drives a search, or did.

    Args:
        run: A random name of this run of the search.
        host: The machine that it is on.
        pid: Its process.
        since: When it started, as ISO 8601.
        seen: Its last sign of life, as ISO 8601.
        state: How it ended; ``running`` before.
        ended: Why it ended; empty before.
    """

    run: str = field(default_factory=lambda: os.environ.get(RUN) or uuid.uuid4().hex[:12])
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: _now().isoformat())
    seen: str = field(default_factory=lambda: _now().isoformat())
    state: State = "running"
    ended: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether it has not ended and gives no sign of life."""
        silent = (_now() - datetime.fromisoformat(self.seen)).total_seconds()
        return self.state == "running" and silent > LOST_SECONDS


def driver_of(attributes: Mapping[str, Any]) -> Driver | None:
    """The last driver of a search, from its study's attributes; None before the first."""
    values = attributes.get(DRIVER)
    return None if values is None else Driver(**values)


def state_of(attributes: Mapping[str, Any]) -> State:
    """Whether a search runs, and how its last run ended.

    ``new``: no run has begun; ``lost``: the last run gives no sign of life.
    """
    last = driver_of(attributes)
    if last is None:
        return "new"
    return "lost" if last.is_lost else last.state


def announce(study: Study) -> str:
    """Note that a driver is being started, which counts as running until it signs itself.

    Returns:
        The name of its run, for ``TLC_RUN`` in its environment.
    """
    starting = replace(Driver(), run=uuid.uuid4().hex[:12])
    study.optuna.set_user_attr(DRIVER, asdict(starting))
    return starting.run


def request_stop(study: Study) -> None:
    """Ask the driver of a search to stop, as Ctrl-C does; it hears it within a second or two.

    Raises:
        BusyStudy: The search is not running.
    """
    attributes = study.optuna.user_attrs
    last, state = driver_of(attributes), state_of(attributes)
    if last is None or state != "running":
        raise BusyStudy(f"search {study.search.name!r} is not running; it is {state}")
    study.optuna.set_user_attr(STOP, last.run)


class Driving:
    """The driver's side: signs of life from a thread, which also hears the request to stop.

    Args:
        study: The search that this process drives.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._driver = Driver()
        self._last = replace(self._driver, state="failed")
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="driver", daemon=True)

    def end(self, state: State, ended: str) -> None:
        """Note how the run ends, which is told when it has; without it, it is ``failed``."""
        self._last = replace(self._driver, state=state, ended=ended)

    def _work(self) -> None:
        since_sign = 0.0
        was_asked = False
        while not self._left.wait(ASK_SECONDS):
            since_sign += ASK_SECONDS
            try:
                if self._is_displaced():
                    # Taken for dead, and another drives: what is finished is in the study.
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                if not was_asked and self._is_asked_to_stop():
                    was_asked = True
                    os.kill(os.getpid(), signal.SIGINT)
                if since_sign >= SIGN_SECONDS:
                    self._sign()
                    since_sign = 0.0
            except Exception:
                # Whatever the database raises while it is away: the search itself tells of it.
                continue

    def _is_asked_to_stop(self) -> bool:
        return bool(self._study.optuna.user_attrs.get(STOP) == self._driver.run)

    def _is_displaced(self) -> bool:
        current = driver_of(self._study.optuna.user_attrs)
        return current is not None and current.run != self._driver.run

    def _sign(self) -> None:
        self._driver = replace(self._driver, seen=_now().isoformat())
        self._study.optuna.set_user_attr(DRIVER, asdict(self._driver))


@contextmanager
def driving(study: Study) -> Iterator[Driving]:
    """Drive a search: give signs of life, and hear when it should stop.

    Raises:
        BusyStudy: A process on another machine drives it.
    """
    last = driver_of(study.optuna.user_attrs)
    if (
        last is not None
        and last.state == "running"
        and not last.is_lost
        and last.host != socket.gethostname()
        and last.run != os.environ.get(RUN)
    ):
        raise BusyStudy(
            f"search {study.search.name!r} is running already, on {last.host} (its last sign of "
            f"life is from {last.seen}); tlc stop {study.search.name} stops it"
        )
    made = Driving(study)
    _hear_sigint()
    made._sign()
    made._thread.start()
    try:
        yield made
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        made.end("stopped" if is_stopped else "failed", str(error) or type(error).__name__)
        raise
    finally:
        made._left.set()
        made._thread.join()
        if not made._is_displaced():
            made._driver = made._last
            made._sign()


def _hear_sigint() -> None:
    """A process that a shell put in the background ignores SIGINT, and with it every request."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _now() -> datetime:
    return datetime.now(UTC)
