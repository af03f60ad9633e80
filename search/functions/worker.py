"""What runs in Ray's workers: the function of the user, and how its trial ended."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any

from objectives.failures import OUT_OF_MEMORY, is_out_of_memory, short_traceback
from objectives.store.heartbeat import beat, listening
from objectives.store.store import Store
from search.execution.gpus.visibility import hide_unassigned_gpus
from search.functions.trial import Trial
from search.storage.states import ERROR
from spaces.errors import UserError
from spaces.functions.points import Values, number_fault

Objective = Callable[[Trial], Mapping[str, float]]
"""The function of the user: its metrics, by name, from a trial."""

INVALID_RESULT = "invalid_result"
"""The function returned something else than the metrics that the search needs."""
NOT_FINITE = "not_finite"
"""A metric is NaN or infinite."""
BEAT_SECONDS = 1.0


@dataclass(frozen=True)
class FunctionSetup:
    """What each worker needs beside the function; Ray sends it to them.

    Args:
        required: Metrics that every trial must have; the first is the score.
        costs: Those of them that are above 0.
        taken: Names that no metric can have, such as those of dimensions.
        folder: Folder of the trials' folders.
        store: URL of the store.
        store_max_bytes: Its quota.
        scope: What keys of stages belong to.
        paths: Where the process of the user finds modules.
    """

    required: tuple[str, ...]
    costs: tuple[str, ...]
    taken: tuple[str, ...]
    folder: str
    store: str
    store_max_bytes: float
    scope: tuple[str, str]
    paths: tuple[str, ...]


def trainable(setup: FunctionSetup, objective: bytes) -> Callable[[dict[str, Any]], None]:
    """The function that Ray Tune runs: one trial, with heartbeats while its process runs.

    Args:
        objective: The function of the user, as ``serialised`` returns it.
    """

    def call(trial: Trial) -> Mapping[str, float]:
        # Inside the trial, which fails where the function cannot be loaded.
        return _loaded(setup, objective)(trial)

    def job(config: dict[str, Any]) -> None:
        from ray import tune

        from search.execution.watchdog import HeartbeatSender

        hide_unassigned_gpus()
        number, values = config["numbers"][0], config["configurations"][0]
        sender = HeartbeatSender(tune.get_context().get_trial_id())
        with listening(sender, sender.stored), beating():
            outcome = evaluate(setup, call, number, values)
        # As text, because Tune flattens nested results before a searcher sees them.
        tune.report({"number": number, "outcome": json.dumps(outcome, allow_nan=False)})

    return job


def serialised(objective: Objective) -> bytes:
    """A function as Ray sends it to its workers; tlc stores none of it.

    Raises:
        UserError: It cannot be sent.
    """
    from ray import cloudpickle

    try:
        sent: bytes = cloudpickle.dumps(objective)
    except Exception as error:
        # What an object raises while it is serialised is of any class.
        raise UserError(
            f"objective: Ray cannot send it to its workers: {error}; a function can be sent that "
            "uses no open files, locks or connections of this process"
        ) from error
    return sent


@lru_cache(maxsize=1)
def _loaded(setup: FunctionSetup, objective: bytes) -> Objective:
    """The function in a worker, which loads it once: what it keeps, later trials find."""
    from ray import cloudpickle

    # At the end, where they hide none of the modules of tlc.
    sys.path.extend(path for path in setup.paths if path not in sys.path)
    loaded: Objective = cloudpickle.loads(objective)
    return loaded


@contextmanager
def beating() -> Iterator[None]:
    """Send heartbeats from a thread: the function of the user sends none."""
    over = threading.Event()

    def send() -> None:
        while not over.wait(BEAT_SECONDS):
            beat("running the function")

    thread = threading.Thread(target=send, name="heartbeat", daemon=True)
    beat("running the function")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def evaluate(
    setup: FunctionSetup, objective: Objective, number: int, configuration: dict[str, Any]
) -> dict[str, Any]:
    """Call the function on a trial; a failure comes as a named state.

    Args:
        configuration: ``Values.to_dict()``.

    Returns:
        ``state`` and, where it is ``complete``, ``result``; else ``message`` and ``traceback``.
        Also ``damaged``: damaged entries of the store.
    """
    values = Values.from_dict(configuration)
    store = Store(setup.store, max_bytes=setup.store_max_bytes)
    folder = Path(setup.folder) / str(number)
    trial = Trial(
        number, values.params, seed=values.seed, folder=folder, store=store, scope=setup.scope
    )
    started = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        returned = objective(trial)
        outcome = _checked(setup, returned, values.known)
    except Exception as error:
        # Whatever the function raises fails this trial alone; the search continues.
        state = OUT_OF_MEMORY if is_out_of_memory(error) else ERROR
        message = f"{type(error).__name__}: {error}"
        outcome = {"state": state, "message": message, "traceback": short_traceback(error)}
    finally:
        trial.close()
    if outcome["state"] == "complete":
        outcome["result"] |= {
            "seconds": time.monotonic() - started,
            "stages": trial.stages,
            "folder": str(folder),
        }
    return {**outcome, "damaged": store.pop_damaged(), "curve": []}


def _checked(setup: FunctionSetup, returned: Any, known: Mapping[str, float]) -> dict[str, Any]:
    """The outcome of what the function returned: its metrics, or what is wrong with them."""
    if not isinstance(returned, Mapping):
        wanted = ", ".join(f'"{name}": …' for name in setup.required)
        return _invalid(
            f"the function returned {returned!r:.100}, of type {type(returned).__name__}; "
            f"allowed: {{{wanted}}}"
        )
    metrics = {**known, **returned}
    for name in metrics:
        if name in setup.taken:
            return _invalid(f"{name}: is what trials have already; give the metric another name")
    for name in setup.required:
        if name not in metrics:
            names = ", ".join(map(str, metrics)) or "none"
            return _invalid(f"{name}: is missing in what the function returned; it has {names}")
    for name, value in metrics.items():
        fault = number_fault(value, above_zero=name in setup.costs)
        if fault is not None:
            is_finite = not isinstance(value, Real) or math.isfinite(value)
            state = INVALID_RESULT if is_finite else NOT_FINITE
            return {"state": state, "message": f"{name}: {fault}", "traceback": ""}
    numbers = {str(name): float(value) for name, value in metrics.items()}
    score = setup.required[0]
    return {
        "state": "complete",
        "result": {
            **{name: numbers[name] for name in setup.required},
            "metrics": numbers,
            "metric": score,
            "score": numbers[score],
        },
    }


def _invalid(message: str) -> dict[str, Any]:
    return {"state": INVALID_RESULT, "message": message, "traceback": ""}
