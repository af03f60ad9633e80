"""The driver's side: the right to drive, signs of life, and hearing that it should stop."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from objectives.store.locks import Busy, exclusive_or_busy
from search.storage.errors import BusyStudy, StudyAway
from search.storage.lease import (
    DRIVER,
    RUN,
    SIGN_SECONDS,
    STOP,
    WATCH_SECONDS,
    Driver,
    State,
    driver_of,
    sure_state,
)
from search.storage.retry import patience
from search.storage.study import Study

log = logging.getLogger(__name__)

ASK_SECONDS = 1.0
"""Seconds between two looks at whether to stop."""


@contextmanager
def only_driver(name: str, folder: Path) -> Iterator[None]:
    """Hold the right to drive a search on this machine.

    Raises:
        BusyStudy: Another process drives it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with exclusive_or_busy(folder / f"{name}.lock"):
            yield
    except Busy as error:
        raise BusyStudy(f"search {name!r} is running already, in another process") from error


def refuse_if_elsewhere(study: Study) -> None:
    """Refuse what a driver alone may do while one drives on another machine or from another home.

    Call it inside ``only_driver``: one of this machine and home is dead then.

    Raises:
        BusyStudy: The search is running.
    """
    last = driver_of(study.attributes)
    if last is None or last.is_here or last.run == os.environ.get(RUN):
        return
    if sure_state(study) == "running":
        raise BusyStudy(
            f"search {study.search.name!r} is running already, on {last.host} (its last sign of "
            f"life is from {last.seen}); tlc stop {study.search.name} stops it"
        )


class Driving:
    """Signs of life from a thread, which also hears the request to stop.

    Args:
        study: The search that this process drives.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self._driver = Driver()
        self._last = replace(self._driver, state="failed")
        self._signed = time.monotonic()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._work, name="driver", daemon=True)

    def end(self, state: State, ended: str) -> None:
        """Note how the run ends, which is told when it has; without it, it is ``failed``."""
        self._last = replace(self._driver, state=state, ended=ended)

    def begin(self, before: Any | None) -> bool:
        """Take the place of the last driver, as it was read; returns whether nobody else did."""
        if not self._study.exchange(DRIVER, before, asdict(self._driver)):
            return False
        self._thread.start()
        return True

    @property
    def is_displaced(self) -> bool:
        """Whether another has taken its place, which nobody may while its signs are recent: a
        process that was frozen looks before it starts anything."""
        if time.monotonic() - self._signed < WATCH_SECONDS:
            return False
        current = driver_of(self._study.attributes)
        return current is None or current.run != self._driver.run

    def leave(self) -> None:
        """Tell how the run ended, unless another has taken its place."""
        self._left.set()
        self._thread.join()
        self._sign(state=self._last.state, ended=self._last.ended)

    def _work(self) -> None:
        since_sign = 0.0
        was_asked = False
        while not self._left.wait(ASK_SECONDS):
            since_sign += ASK_SECONDS
            try:
                attributes = self._study.attributes
                current = driver_of(attributes)
                if current is None or current.run != self._driver.run:
                    # Taken for dead, and another drives: what is finished is in the study.
                    log.warning("another process drives this search now; this one stops")
                    os.kill(os.getpid(), signal.SIGINT)
                    return
                if not was_asked and attributes.get(STOP) == self._driver.run:
                    was_asked = True
                    os.kill(os.getpid(), signal.SIGINT)
                if since_sign >= SIGN_SECONDS:
                    self._sign()
                    since_sign = 0.0
            except Exception:
                # Whatever the database raises while it is away: the search itself tells of it.
                continue

    def _sign(self, *, state: State = "running", ended: str = "") -> None:
        """Change the own entry, and no other's: who was taken for dead may have been frozen."""
        before = self._study.attributes.get(DRIVER)
        if before is None or before["run"] != self._driver.run:
            return
        self._driver = replace(self._driver.signing(), state=state, ended=ended)
        now = time.monotonic()
        if self._study.exchange(DRIVER, before, asdict(self._driver)):
            self._signed = now


@contextmanager
def driving(study: Study) -> Iterator[Driving]:
    """Drive a search: give signs of life, hear when it should stop, and wait for the study's
    database when that is away.

    Raises:
        BusyStudy: Another process drives it.
    """
    before = study.attributes.get(DRIVER)
    refuse_if_elsewhere(study)
    made = Driving(study)
    _hear_sigint()
    if not _take(study, made, before):
        raise BusyStudy(f"search {study.search.name!r} is running already: it was started just now")
    try:
        with patience():
            yield made
    except BaseException as error:
        is_stopped = isinstance(error, KeyboardInterrupt)
        made.end("stopped" if is_stopped else "failed", str(error) or type(error).__name__)
        # Who waits no longer for the database does not wait to tell it.
        with suppress(StudyAway):
            made.leave()
        raise
    with patience():
        made.leave()


def _take(study: Study, made: Driving, before: Any | None) -> bool:
    """Begin in the place of the last driver; False where another was faster."""
    if made.begin(before):
        return True
    # Whoever started this process may have named it in the announcement meanwhile.
    current = study.attributes.get(DRIVER)
    is_announced = current is not None and current["run"] == os.environ.get(RUN)
    return is_announced and made.begin(current)


def _hear_sigint() -> None:
    """A process that a shell put in the background ignores SIGINT, and with it every request."""
    is_main = threading.current_thread() is threading.main_thread()
    if is_main and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
