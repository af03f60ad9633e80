"""Who drives a search, whether it lives, and the request to stop.

All of it is in the study's database, so that whoever reaches it can ask and tell: a second process,
a service, another machine.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from search.storage.errors import BusyStudy
from search.storage.study import Study
from spaces.file.storage import home

DRIVER = "tlc:driver"
STOP = "tlc:stop"
RUN = "TLC_RUN"
"""Environment variable that names the run of a process that was started to drive a search."""

SIGN_SECONDS = 5.0
"""Seconds between two signs of life."""
LOST_SECONDS = 30.0
"""Seconds without a sign of life after which a driver is taken for dead."""
WATCH_SECONDS = 2 * SIGN_SECONDS
"""Seconds that a driver is watched whose last sign of life looks old: clocks may differ."""
LOOK_SECONDS = 0.5
"""Seconds between two looks at it."""

State = Literal["new", "running", "stopped", "finished", "failed", "lost"]


@dataclass(frozen=True)
class Driver:
    """A process that drives a search, or did.

    Args:
        run: A random name of this run of the search.
        host: The machine that it is on.
        home: Its ``TLC_HOME``: one machine may have several, as several machines.
        pid: Its process.
        since: When it started, as ISO 8601, by its own clock.
        seen: Its last sign of life, as ISO 8601, by its own clock.
        sign: The number of that sign, which grows.
        state: How it ended; ``running`` before.
        ended: Why it ended; empty before.
    """

    run: str = field(default_factory=lambda: os.environ.get(RUN) or uuid.uuid4().hex[:12])
    host: str = field(default_factory=socket.gethostname)
    home: str = field(default_factory=lambda: str(home()))
    pid: int = field(default_factory=os.getpid)
    since: str = field(default_factory=lambda: _now().isoformat())
    seen: str = field(default_factory=lambda: _now().isoformat())
    sign: int = 0
    state: State = "running"
    ended: str = ""

    def signing(self) -> Driver:
        """With the next sign of life."""
        return replace(self, seen=_now().isoformat(), sign=self.sign + 1)

    @property
    def looks_alive(self) -> bool:
        """Whether its last sign of life is recent, if its clock and this one agree."""
        silent = (_now() - datetime.fromisoformat(self.seen)).total_seconds()
        return 0.0 <= silent <= LOST_SECONDS

    @property
    def is_here(self) -> bool:
        """Whether it is one of this machine and home, where a lock tells who drives."""
        return (self.host, self.home) == (socket.gethostname(), str(home()))

    @property
    def is_gone(self) -> bool:
        """Whether its process is known to have ended."""
        if self.host != socket.gethostname():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


class Watch:
    """Tells whether the driver of a search lives, by the numbers of its signs of life and by this
    process's own monotonic clock. The clocks of two machines are only a hint."""

    def __init__(self) -> None:
        self._sign: tuple[str, int] | None = None
        self._since = 0.0
        self._looked = 0.0
        self._has_moved = False

    def state(self, attributes: Mapping[str, Any]) -> State | None:
        """Whether a search runs, and how its last run ended.

        Args:
            attributes: Of its study, as they are now.

        Returns:
            ``new``: no run has begun; ``lost``: the last run gives no sign of life; None: that
            takes a longer look.
        """
        last = driver_of(attributes)
        if last is None:
            return "new"
        if last.state != "running":
            return last.state
        silent = self._look(last)
        if self._has_moved:
            return "running" if silent <= LOST_SECONDS else "lost"
        if last.looks_alive:
            return "running"
        return "lost" if silent >= WATCH_SECONDS or last.is_gone else None

    def _look(self, last: Driver) -> float:
        """Seconds for which the sign of life has been the same, as far as it was looked at."""
        now, sign = time.monotonic(), (last.run, last.sign)
        if sign != self._sign:
            is_same_run = self._sign is not None and self._sign[0] == last.run
            # After a long time without a look, it may have stopped moving long ago.
            self._has_moved = is_same_run and now - self._looked <= LOST_SECONDS
            self._sign, self._since = sign, now
        self._looked = now
        return now - self._since


def driver_of(attributes: Mapping[str, Any]) -> Driver | None:
    """The last driver of a search, from its study's attributes; None before the first."""
    values = attributes.get(DRIVER)
    return None if values is None else Driver(**values)


def sure_state(study: Study) -> State:
    """Whether a search runs, and how its last run ended; watches its driver where the time of its
    last sign of life is no proof."""
    watch = Watch()
    while (state := watch.state(study.attributes)) is None:
        time.sleep(LOOK_SECONDS)
    return state


def announce(study: Study, before: Any | None) -> str:
    """Note that a driver is being started, which counts as running until it signs itself.

    Args:
        study: The search that it will drive.
        before: What the study said of its last driver when that was found not to be running.

    Returns:
        The name of its run, for ``TLC_RUN`` in its environment.

    Raises:
        BusyStudy: Another was started since.
    """
    starting = Driver(run=uuid.uuid4().hex[:12])
    if not study.exchange(DRIVER, before, asdict(starting)):
        raise BusyStudy(f"search {study.search.name!r} is running already: it was started just now")
    return starting.run


def hand_over(study: Study, run: str, pid: int) -> None:
    """Name the process that was started for an announced run: whoever announced it may be gone
    before that one has signed.

    Args:
        study: The search.
        run: From ``announce``.
        pid: The started process.
    """
    before = study.attributes.get(DRIVER)
    # Not where it has signed already, with a number above zero, or another is there.
    if before is not None and before["run"] == run and before["sign"] == 0:
        study.exchange(DRIVER, before, {**before, "pid": pid})


def request_stop(study: Study) -> None:
    """Ask the driver of a search to stop, as Ctrl-C does; it hears it within a second or two.

    Raises:
        BusyStudy: The search is not running.
    """
    state = sure_state(study)
    last = driver_of(study.attributes)
    if last is None or state != "running":
        raise BusyStudy(f"search {study.search.name!r} is not running; it is {state}")
    study.optuna.set_user_attr(STOP, last.run)


def _now() -> datetime:
    return datetime.now(UTC)
