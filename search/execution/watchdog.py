"""The progress watchdog: a worker that lives and gets nowhere is killed, and its job goes on.

Ray notices a process that dies, not one that hangs: stopped, in a call that never returns, on a
disk that does not answer. A worker counts its signs of progress in the cluster's key-value store;
the driver looks whether the count moves. No clock is compared with another's.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import kill, tune
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from objectives.store import heartbeat
from search.storage.trials import HUNG, WORKER_DIED

log = logging.getLogger(__name__)

NAMESPACE = "tlc"
HEARTBEAT_SECONDS = 1.0
"""Seconds between two signs of the same work."""
LOOK_SECONDS = 0.5
"""Seconds between two looks of the driver."""
STARTING_SECONDS = 120.0
"""Seconds that a worker has at least until its first sign: what it loads makes none."""


@contextmanager
def watched(job: str) -> Iterator[None]:
    """Pass the signs of progress of this process on to the driver meanwhile.

    Args:
        job: What Ray Tune calls the trial that this worker runs.
    """
    with heartbeat.listening(_Signs(job)):
        yield


class _Signs:
    """Counts signs, and sends the count when the work changes or a second has passed."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._count = 0
        self._what = ""
        self._sent = 0.0

    def __call__(self, what: str, is_paused: bool) -> None:
        self._count += 1
        now = time.monotonic()
        if what == self._what and now - self._sent < HEARTBEAT_SECONDS:
            return
        self._what, self._sent = what, now
        sign = {"count": self._count, "what": what, "is_paused": is_paused}
        try:
            _internal_kv_put(self._job, json.dumps(sign), namespace=NAMESPACE)
        except Exception as error:
            # Whatever Ray raises while its head is away: work goes on without being watched.
            log.debug("a sign of progress was not sent: %s", error)


@dataclass
class _Seen:
    """The last sign of a job, and when this process saw it change."""

    sign: bytes | None
    at: float

    @property
    def what(self) -> str:
        return "starting" if self.sign is None else str(json.loads(self.sign)["what"])

    @property
    def is_paused(self) -> bool:
        return self.sign is not None and bool(json.loads(self.sign)["is_paused"])


class Watchdog(tune.Callback):  # type: ignore[misc]
    """Kills the workers of jobs that make no progress; Ray Tune calls it in its loop.

    Args:
        deadline_seconds: Longest time without a sign of progress.
        tell: Called with a line when a worker waits for something, and when it goes on.
    """

    def __init__(self, deadline_seconds: float, tell: Callable[[str], None]) -> None:
        self._deadline = deadline_seconds
        self._tell = tell
        self._seen: dict[str, _Seen] = {}
        self._killed: dict[str, str] = {}
        self._looked = 0.0

    def why(self, job: str) -> tuple[str, str]:
        """State and message of a job whose worker died."""
        if job in self._killed:
            return HUNG, self._killed[job]
        return WORKER_DIED, "its process died"

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Take note of a job that gets a worker: loading what it needs counts too."""
        self._seen[trial.trial_id] = _Seen(None, time.monotonic())

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Look at the running jobs, now and then."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for trial in trials:
            if trial.trial_id in self._seen and trial.temporary_state.ray_actor is not None:
                self._look(trial, now)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget a job that has ended."""
        self._forget(trial)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Forget a job whose worker has died."""
        self._forget(trial)

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration for a restore that is never made.
        return {}

    def _patience(self, seen: _Seen) -> float:
        """Seconds without a sign after which a worker is stuck."""
        return max(self._deadline, STARTING_SECONDS) if seen.sign is None else self._deadline

    def _look(self, trial: Any, now: float) -> None:
        seen = self._seen[trial.trial_id]
        sign = _internal_kv_get(trial.trial_id, namespace=NAMESPACE)
        if sign != seen.sign:
            self._seen[trial.trial_id] = _Seen(sign, now)
            self._tell_of_pause(trial, seen)
        elif (silent := now - seen.at) > self._patience(seen):
            self._killed[trial.trial_id] = f"no progress for {silent:.0f} s ({seen.what}); killed"
            del self._seen[trial.trial_id]
            kill(trial.temporary_state.ray_actor)

    def _tell_of_pause(self, trial: Any, before: _Seen) -> None:
        seen = self._seen[trial.trial_id]
        if seen.is_paused != before.is_paused:
            number = trial.config["numbers"][0]
            self._tell(f"#{number}: " + (f"paused: {seen.what}" if seen.is_paused else "goes on"))

    def _forget(self, trial: Any) -> None:
        self._seen.pop(trial.trial_id, None)
        _internal_kv_del(trial.trial_id, namespace=NAMESPACE)
