"""Trials and the frontier as data frames: a row for a trial, a column for a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from search.results.functions import FunctionSummary
from search.results.schemas import Frontier, Level, Summary, Trial
from spaces.cost.configuration import Configuration
from spaces.grid.search_space import COMPRESSION_FIELDS, SearchSpace

MEASURES = (
    "size_mb", "latency_ms", "flops", "parameters", "compression_ratio", "training_flops",
)  # fmt: skip
"""Fields of a result that are columns of the same name."""


def dimension_names(space: SearchSpace) -> list[str]:
    """The dimensions of a space, and those of compressions that ``fit`` chooses."""
    names = [dimension.name for dimension in space.dimensions]
    return [*names, *(COMPRESSION_FIELDS if space.is_fit else ())]


def trials_frame(
    trials: Iterable[Trial],
    dimensions: Sequence[str],
    metric: str,
    further: Sequence[str] = (),
    costs: Sequence[str] = (),
) -> pd.DataFrame:
    """A row for each trial, by its number.

    Args:
        dimensions: Names of the columns that hold the configuration.
        metric: Name of the score.
        further: Names of further scores.
        costs: Names of the costs that only some searches have.
    """
    measures = (*MEASURES, *costs)
    columns = ["trial", "state", *dimensions, "seed", *_measure_names(metric, further, measures)]
    rows = [_row(trial, dimensions, metric, measures) for trial in trials]
    return pd.DataFrame(rows, columns=columns).set_index("trial")


def frontier_frame(trials: pd.DataFrame, frontier: Frontier) -> pd.DataFrame:
    """The rows of the frontier, the cheapest first, beside the reference that dominates each."""
    found = trials.loc[[member.trial for member in frontier.members]].drop(
        columns=["state", "seed", "on_frontier", "repeats", "message"]
    )
    further = [None if m.seeds is None else m.seeds.further for m in frontier.members]
    found["further_seeds"] = [0 if each is None else each.seeds for each in further]
    found["further_seeds_mean"] = [None if each is None else each.mean for each in further]
    found["dominated_by"] = [member.dominated_by for member in frontier.members]
    return found


def searches_frame(searches: Iterable[Summary | FunctionSummary]) -> pd.DataFrame:
    """A row for each search, by its name; some values are missing where a function is its
    objective."""
    columns = [
        "state", "trials", "complete", "running", "failed", "repeats", "metric", "best_score",
        "hypervolume",
    ]  # fmt: skip
    rows = {each.name: {name: getattr(each, name, None) for name in columns} for each in searches}
    found = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return found.rename_axis("search")


def levels_frame(levels: Iterable[Level], metric: str) -> pd.DataFrame:
    """A row for each fixed cost, with the best trial within it."""
    rows = [
        {
            f"max_{level.cost}": level.limit,
            "trial": level.trial,
            "configuration": level.text,
            metric: level.score,
            f"{metric}_low": level.score_low,
            f"{metric}_high": level.score_high,
        }
        for level in levels
    ]
    return pd.DataFrame(rows).astype({"trial": "Int64"})


def _measure_names(metric: str, further: Sequence[str], measures: Sequence[str]) -> list[str]:
    scores = [metric, f"{metric}_low", f"{metric}_high", f"test_{metric}", f"dense_{metric}"]
    times = ["steps", "steps_reused", "seconds", "started", "finished"]
    return [*scores, *further, *measures, *times, "on_frontier", "repeats", "message"]


def _row(
    trial: Trial, dimensions: Sequence[str], metric: str, measures: Sequence[str]
) -> dict[str, Any]:
    """The values of a trial; those that are not known are missing."""
    configuration = Configuration.from_dict(trial.configuration)
    row: dict[str, Any] = {
        "trial": trial.trial,
        "state": trial.state,
        **{name: _plain(configuration.value_of(name)) for name in dimensions},
        "seed": configuration.seed,
        "started": trial.started,
        "finished": trial.finished,
        "on_frontier": trial.on_frontier,
        "repeats": trial.repeats,
        "message": trial.message,
    }
    result = trial.result
    if not result:
        return row
    seconds, steps = result["seconds"], result["steps"]
    return row | {
        metric: result["score"],
        f"{metric}_low": result["score_low"],
        f"{metric}_high": result["score_high"],
        f"test_{metric}": trial.test.get("score"),
        f"dense_{metric}": result["dense_score"],
        **{name: ends["value"] for name, ends in result.get("further_scores", {}).items()},
        **{name: result[name] for name in measures},
        "steps": steps["total"],
        "steps_reused": steps["reused"],
        "seconds": sum(seconds[name] for name in ("train", "compress", "measure")),
    }


def _plain(value: Any) -> Any:
    """A value without the enumeration that it is a member of."""
    return str(value) if isinstance(value, str) else value
