"""The watchdog: a worker that is alive and makes no progress is killed, and its job is resumed.

Ray notices a process that dies, not one that hangs: stopped, in a call that never returns, on a
disk that does not answer. A worker counts heartbeats in the cluster's key-value store, and the
driver checks that the count grows. Clocks of different machines are not compared.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ray import cloudpickle, kill, tune
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from search.execution.trial_retries import Death, Place, death_of
from search.storage.states import HUNG

log = logging.getLogger(__name__)

NAMESPACE = "tlc"
SEND_SECONDS = 1.0
"""Seconds between two heartbeats that are sent for the same work."""
CHECK_SECONDS = 0.5
"""Seconds between two checks by the driver."""
STARTING_SECONDS = 120.0
"""Least deadline for a worker's first heartbeat: imports and loading send none."""


class HeartbeatSender:
    """Sends the heartbeats of this process to the driver.

    Args:
        job: Ray Tune's id of the trial that this worker runs.
    """

    def __init__(self, job: str) -> None:
        self._job = job
        self._count = 0
        self._what = ""
        self._sent = 0.0
        self._stored = ""
        self._place = asdict(Place.here())

    def __call__(self, what: str, is_paused: bool) -> None:
        """Count a heartbeat, and send the count if the work changed or a second has passed."""
        self._count += 1
        now = time.monotonic()
        if what == self._what and now - self._sent < SEND_SECONDS:
            return
        self._what, self._sent = what, now
        self._send(is_paused=is_paused)

    def stored(self, address: str) -> None:
        """Send the address of a new entry of the store."""
        self._stored = address
        self._send()

    def _send(self, *, is_paused: bool = False) -> None:
        progress = {"count": self._count, "what": self._what, "is_paused": is_paused}
        value = json.dumps({**progress, "stored": self._stored, "place": self._place})
        try:
            _internal_kv_put(self._job, value, namespace=NAMESPACE)
        except Exception as error:
            # Any error of Ray while its head is unreachable: the work continues unwatched.
            log.debug("a heartbeat was not sent: %s", error)


@dataclass(frozen=True)
class _Heartbeat:
    """The last heartbeat of a job, and when this process saw it change."""

    at: float
    count: int = 0
    what: str = "starting"
    is_paused: bool = False
    stored: str = ""
    place: Mapping[str, Any] | None = None

    @classmethod
    def read(cls, job: str, at: float) -> _Heartbeat:
        """What a job sent last; the default where it sent nothing."""
        return cls(at, **json.loads(_internal_kv_get(job, namespace=NAMESPACE) or "{}"))


class StopRequest(tune.Stopper):  # type: ignore[misc]
    """Ends all jobs of Ray Tune once the search must stop.

    Args:
        must_stop: Whether it must; asked in Tune's loop.
    """

    def __init__(self, must_stop: Callable[[], bool]) -> None:
        self._must_stop = must_stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No job ends by itself."""
        return False

    def stop_all(self) -> bool:
        """Whether all end."""
        return self._must_stop()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that is never made.
        return {}


class Watchdog(tune.Callback):  # type: ignore[misc]
    """Kills the workers of jobs that make no progress; Ray Tune calls it in its loop.

    Args:
        deadline_seconds: Longest time without a heartbeat.
        warn: Called with a line when a worker pauses, and when it resumes.
    """

    def __init__(self, deadline_seconds: float, warn: Callable[[str], None]) -> None:
        self._deadline = deadline_seconds
        self._warn = warn
        self._last: dict[str, _Heartbeat] = {}
        self._killed: dict[str, str] = {}
        self._checked = 0.0
        self._trials: list[Any] = []
        """All jobs, as Tune knows them."""

    def death_of(self, job: str) -> Death:
        """How the worker of a job died."""
        last = _Heartbeat.read(job, time.monotonic())
        if job in self._killed:
            return Death(HUNG, self._killed[job], stored=last.stored)
        trial = next((each for each in self._trials if each.trial_id == job), None)
        error, text = _error_of(trial)
        death = death_of(error, text, Place(**last.place) if last.place else None)
        return replace(death, stored=last.stored)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Watch a job that gets a worker, from its start."""
        self._last[trial.trial_id] = _Heartbeat(time.monotonic())

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Check the running jobs, at most every ``CHECK_SECONDS``."""
        now = time.monotonic()
        self._trials = trials
        if now - self._checked < CHECK_SECONDS:
            return
        self._checked = now
        for trial in trials:
            if trial.trial_id in self._last and trial.temporary_state.ray_actor is not None:
                self._check(trial, now)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Stop watching a job that has ended, or whose worker has died."""
        self._last.pop(trial.trial_id, None)
        _internal_kv_del(trial.trial_id, namespace=NAMESPACE)

    on_trial_error = on_trial_complete

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its callbacks for a restore that is never made.
        return {}

    def _check(self, trial: Any, now: float) -> None:
        last = self._last[trial.trial_id]
        current = _Heartbeat.read(trial.trial_id, now)
        deadline = self._deadline if current.count else max(self._deadline, STARTING_SECONDS)
        if current != replace(last, at=now):
            self._last[trial.trial_id] = current
            if current.is_paused != last.is_paused:
                change = f"paused: {current.what}" if current.is_paused else "resumed"
                self._warn(f"#{trial.config['numbers'][0]}: {change}")
        elif (silent := now - last.at) > deadline:
            self._killed[trial.trial_id] = f"no progress for {silent:.0f} s ({last.what}); killed"
            del self._last[trial.trial_id]
            kill(trial.temporary_state.ray_actor)


def _error_of(trial: Any) -> tuple[Exception | None, str]:
    """What ended a job of Tune: the error, where it could be sent, and its text."""
    if trial is None or trial.error_file is None:
        return None, ""
    # ``Trial.get_error`` reads where Tune copies these files later.
    text = Path(trial.error_file).read_text()
    if trial.pickled_error_file is None:
        return None, text
    try:
        return cloudpickle.loads(Path(trial.pickled_error_file).read_bytes()), text
    except Exception as error:
        # An error of a library may raise anything where it cannot be loaded here.
        log.debug("an error of Ray was not read: %s", error)
        return None, text


@contextmanager
def killed_for_memory_is_a_failed_task() -> Iterator[None]:
    """Inside the block, Ray Tune takes a worker that Ray killed for lack of memory for a failed
    task.

    Tune 2.60 expects a ``RayActorError`` or a ``RayTaskError``, and ends the whole run at the
    ``OutOfMemoryError`` that Ray raises.
    """
    from ray.air.execution._internal import actor_manager
    from ray.exceptions import OutOfMemoryError, RayTaskError

    actor_manager.RayTaskError = (RayTaskError, OutOfMemoryError)
    try:
        yield
    finally:
        actor_manager.RayTaskError = RayTaskError
