"""What runs in a Ray worker: one trial after another, with the objective loaded once."""

from __future__ import annotations

import logging
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

LONGEST_CURVE = 60


@lru_cache(maxsize=1)
def _objective(search: str, data: str) -> Any:
    """The objective of a search, kept while the process lives: trials share its data and model."""
    from objectives.data import open_prepared
    from objectives.objective import Objective
    from spaces.search_file import SearchFile

    file = SearchFile.model_validate_json(search)
    folder = Path(data)
    return Objective(file, open_prepared(folder) if folder.is_dir() else None)


def evaluate(search: str, data: str, configuration: dict[str, Any]) -> dict[str, Any]:
    """Evaluate a configuration; a failure comes back as a named state.

    An unexpected error is retried once, which continues from the last checkpoint. The death of
    the process is Ray's to notice and to retry.

    Args:
        search: The search file as JSON.
        data: Folder of the prepared data.
        configuration: From ``Configuration.to_dict``.

    Returns:
        ``state`` and, where it is ``complete``, ``result`` and ``curve``; else ``message``.
    """
    from objectives.failures import TrialFailure
    from spaces.configuration import Configuration

    point = Configuration.from_dict(configuration)
    for attempt in (1, 2):
        try:
            evaluation = _objective(search, data).evaluate(point)
        except TrialFailure as failure:
            return {"state": failure.state, "message": failure.message}
        except Exception:
            # Whatever a library raises belongs to this trial alone; the search goes on.
            message = traceback.format_exc(limit=-6)
            logging.getLogger(__name__).warning("attempt %d failed: %s", attempt, message)
            continue
        result = evaluation.to_dict()
        return {"state": "complete", "result": result, "curve": curve(result.pop("stages"))}
    return {"state": "error", "message": message}


def test(search: str, data: str, model: str) -> dict[str, Any]:
    """Score a stored model on the test split.

    Returns:
        ``accuracy``, its interval, ``examples`` and ``loss``; or ``state`` and ``message``.
    """
    from objectives.failures import TrialFailure

    try:
        score = _objective(search, data).test(model)
    except TrialFailure as failure:
        return {"state": failure.state, "message": failure.message}
    low, high = score.interval
    return {
        "accuracy": score.accuracy,
        "accuracy_low": low,
        "accuracy_high": high,
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
