"""What runs in a Ray worker: one trial after another, with the objective loaded once."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from search.execution.trial_retries import RETRIED_STATES
from search.storage.states import ERROR

LONGEST_CURVE = 60

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _objective(search: str, data: str) -> Any:
    """The objective of a search, kept while the process lives: trials share its data and model."""
    from search.execution.distributed import make_objective

    return make_objective(search, data)


def evaluate(
    search: str, data: str, configurations: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Evaluate configurations one after another; a failure comes as a named state.

    Neighbours that share their training share the model in memory. An unexpected error, or lack of
    memory, is retried once, from the last checkpoint. Ray detects the death of the process.

    Args:
        search: The search file as JSON.
        data: Folder of the prepared data.
        configurations: From ``Configuration.to_dict``.

    Yields:
        For each, ``state`` and, where it is ``complete``, ``result`` and ``curve``; else
        ``message``. Also ``damaged``: entries of the store that were found damaged.
    """
    from spaces.cost.configuration import Configuration

    left = [Configuration.from_dict(values) for values in configurations]
    has_failed = False
    while left:
        for report in _attempt(search, data, left):
            if report["state"] in RETRIED_STATES and not has_failed:
                log.warning("an attempt failed: %s", report["message"])
                has_failed = True
                # Leaving the loop frees what the attempt holds before the next one.
                break
            left.pop(0)
            has_failed = False
            yield report


def _attempt(search: str, data: str, configurations: list[Any]) -> Iterator[dict[str, Any]]:
    """Reports on configurations in their order, up to an unexpected error."""
    from objectives.training.distributed import WorkerGroupLost

    try:
        objective = _objective(search, data)
        for _, outcome in objective.evaluate_each(list(configurations)):
            yield {**_report(outcome), "damaged": objective.store.pop_damaged()}
    except WorkerGroupLost:
        # This process ends with its workers; another one resumes the job.
        raise
    except Exception:
        # Whatever a library raises fails this trial alone; the search continues.
        yield {"state": ERROR, "message": traceback.format_exc(limit=-6)}


def latencies(search: str, data: str, configurations: list[dict[str, Any]]) -> list[float]:
    """Milliseconds of configurations, measured on untrained models or cached."""
    from spaces.cost.configuration import Configuration

    points = map(Configuration.from_dict, configurations)
    cache = _objective(search, data).latency_cache
    return [cache.of_untrained(point).ms for point in points]


def stored(search: str, data: str, configurations: list[dict[str, Any]]) -> list[tuple[bool, bool]]:
    """Whether the store has the final model and the stable path of configurations."""
    from spaces.cost.configuration import Configuration

    points = map(Configuration.from_dict, configurations)
    return [tuple(found) for found in _objective(search, data).stored_training(points)]


def _report(outcome: Any) -> dict[str, Any]:
    from objectives.failures import TrialFailure

    if isinstance(outcome, TrialFailure):
        return {"state": outcome.state, "message": outcome.message}
    result = outcome.to_dict()
    return {"state": "complete", "result": result, "curve": curve(result.pop("stages"))}


def test_scores(search: str, data: str, models: list[str]) -> list[dict[str, Any]]:
    """Score stored models on the test split.

    Returns:
        For each, ``score``, its interval, ``examples`` and ``loss``; or ``state`` and ``message``,
        with the state ``error`` where a retry may succeed.
    """
    objective = _objective(search, data)
    return [_test_score(objective, model) for model in models]


def _test_score(objective: Any, model: str) -> dict[str, Any]:
    from objectives.failures import TrialFailure

    try:
        score = objective.test(model)
    except TrialFailure as failure:
        return {"state": failure.state, "message": failure.message}
    except Exception:
        # Whatever a library raises fails this model alone.
        return {"state": ERROR, "message": traceback.format_exc(limit=-6)}
    return {
        "score": score.value,
        "score_low": score.low,
        "score_high": score.high,
        "examples": score.examples,
        "loss": score.loss,
    }


def curve(stages: list[dict[str, Any]]) -> list[list[float]]:
    """The training loss over the steps of all stages, thinned to what a plot needs."""
    points: list[list[float]] = []
    before = 0
    for stage in stages:
        points.extend([before + step, loss] for step, loss in stage["curve"])
        before += stage["steps"]
    stride = -(-len(points) // LONGEST_CURVE) or 1
    return points[::stride]
