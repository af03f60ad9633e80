"""Finished trials, and the observations that the Gaussian process learns from.

A trial gives its own result, and the first trial of a training run also the quality of its model
before compression: that model is scored when its training ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, islice
from typing import Any

import numpy as np

from objectives.failures import OUT_OF_MEMORY
from search.arrays import Floats
from search.samplers.frontier.design_space import DesignSpace
from search.samplers.gp.kernel import Features
from search.storage.states import ERROR, HUNG, NODE_LOST, WORKER_DIED
from spaces.cost.metric import Metric

TWO_SIDED_95 = 1.96
"""Standard deviations on each side of the mean of a normal distribution."""
LARGEST_HISTORY = 512
"""Observations that the Gaussian process starts from; of more, half are near the frontier, and half
fill the space."""


@dataclass(frozen=True)
class StageSeconds:
    """Seconds of the stages of a trial, including those that an earlier trial did.

    Args:
        stable: The stable path to its budget, from the beginning.
        cooldown: All training after it.
        evaluate: Compression and measurement.
        recovery: Training after pruning.
    """

    stable: float
    cooldown: float
    evaluate: float
    recovery: float = 0.0


@dataclass(frozen=True)
class Scored:
    """A further score of a complete trial; None stands for what is unknown.

    Args:
        quality: ``Metric.quality`` of it.
        error: Standard error of its quality.
        dense: Quality of the model before compression.
    """

    quality: float
    error: float | None = None
    dense: float | None = None


class FailureCause(Enum):
    """What a failed trial implies for other candidates."""

    MODEL = "the model is bad, and similar models may be too"
    COMPRESSION = "this compression of it is useless; the model may be good"
    MACHINE = "it could not be trained on this machine; its quality is unknown"
    MEMORY = "the same, as could no larger model on the same kind of device"


CAUSES = {
    **dict.fromkeys(("diverged", "not_finite", "constant"), FailureCause.MODEL),
    **dict.fromkeys((ERROR, HUNG, NODE_LOST, WORKER_DIED), FailureCause.MACHINE),
    OUT_OF_MEMORY: FailureCause.MEMORY,
}
"""By the state of a failed trial; in any other state its compression failed."""


@dataclass(frozen=True)
class Trial:
    """A finished trial of a candidate; None stands for what is unknown.

    Args:
        quality: ``Metric.quality`` of its score; None where it failed.
        error: Standard error of its quality.
        dense: Quality of its model before compression.
        cause: Cause of its failure, where it failed.
        further: Further scores, of a complete trial.
    """

    run: int
    compression: int
    quality: float | None
    error: float | None = None
    seconds: StageSeconds | None = None
    dense: float | None = None
    cause: FailureCause = FailureCause.MODEL
    further: tuple[Scored, ...] = ()

    def of_score(self, place: int) -> Trial:
        """The trial with one of its further scores in place of the first; 0 is the first."""
        if place == 0 or self.quality is None:
            return self
        scored = self.further[place - 1]
        return replace(
            self, quality=scored.quality, error=scored.error, dense=scored.dense, further=()
        )

    @property
    def candidate(self) -> tuple[int, int]:
        """The run and the compression."""
        return self.run, self.compression

    @classmethod
    def of_result(
        cls, run: int, compression: int, result: Mapping[str, Any], metrics: Sequence[Metric]
    ) -> Trial:
        """A complete trial, from the result that the study holds.

        Args:
            metrics: Its scores, the first one first.
        """
        stages = result.get("seconds")
        seconds = stages and StageSeconds(
            stable=stages["stable"],
            cooldown=stages["cooldown"],
            evaluate=stages["compress"] + stages["measure"],
            recovery=stages.get("recovery", 0.0),
        )
        first, *further = metrics
        score = _scored(result, first, "score")
        others = tuple(_scored(result, metric, metric.name) for metric in further)
        return cls(
            run, compression, score.quality, score.error, seconds, score.dense, further=others
        )


def _scored(result: Mapping[str, Any], metric: Metric, name: str) -> Scored:
    """A score of a result; its interval and that of the model before compression may be unknown."""
    dense = result.get(f"dense_{name}")
    return Scored(
        quality=metric.quality(result[name]),
        error=score_error(result, metric, name) if f"{name}_low" in result else None,
        dense=None if dense is None else metric.quality(dense),
    )


def score_error(result: Mapping[str, Any], metric: Metric, name: str = "score") -> float:
    """Standard error of the quality of a result's score, from its interval."""
    ends = (metric.quality(result[f"{name}_{end}"]) for end in ("low", "high"))
    low, high = sorted(ends)
    return (high - low) / (2.0 * TWO_SIDED_95)


def errors(trials: Iterable[Trial]) -> Floats:
    """Standard errors of the qualities of some trials, ``(n,)``; NaN where unknown."""
    return np.array([np.nan if t.error is None else t.error for t in trials], dtype=np.float64)


def qualities(trials: Iterable[Trial]) -> Floats:
    """Qualities of some trials, ``(n,)``; minus infinity for failed ones."""
    return np.array([-np.inf if t.quality is None else t.quality for t in trials], dtype=np.float64)


class History:
    """The observations that a sequence of finished trials gives."""

    def __init__(self, design_space: DesignSpace) -> None:
        self._design_space = design_space
        # A model before compression need not be a candidate: it has an index of its own.
        self._dense = len(design_space.compressions)
        no_compression = np.zeros_like(design_space.compressions[:1])
        self._compressions = np.vstack([design_space.compressions, no_compression])
        self._earlier: list[Trial] = []
        """Observations before the first trial."""
        self._by_trial: list[list[Trial]] = []
        self._dense_known: set[int] = set()
        """Runs whose model before compression was observed."""

    def add(self, trial: Trial) -> None:
        """Append a finished trial."""
        self._by_trial.append(self._observations(trial))

    def add_earlier(self, trial: Trial) -> None:
        """Add a trial of an earlier search, before the first of this one."""
        self._earlier += self._observations(trial)

    def _observations(self, trial: Trial) -> list[Trial]:
        if trial.quality is None and trial.cause is not FailureCause.MODEL:
            # It says nothing about the quality of other candidates.
            return []
        is_dense = not self._compressions[trial.compression].any()
        is_new = trial.run not in self._dense_known
        observed = [trial] if is_new or not is_dense else []
        if is_new and not is_dense and trial.dense is not None:
            observed.append(replace(trial, compression=self._dense, quality=trial.dense))
        if (is_dense and trial.quality is not None) or len(observed) > 1:
            self._dense_known.add(trial.run)
        return observed

    def since(self, trials: int) -> list[Trial]:
        """Observations of the trials after the first ``trials``."""
        return list(chain.from_iterable(self._by_trial[trials:]))

    def until(self, trials: int, best: Iterable[tuple[int, int]]) -> list[Trial]:
        """Observations of earlier searches and of the first ``trials``; of many, some that cover
        all of them.

        Args:
            best: Candidates of complete trials, from the frontier on.
        """
        observed = list(chain(self._earlier, *self._by_trial[:trials]))
        if len(observed) <= LARGEST_HISTORY:
            return observed
        index_of = {trial.candidate: index for index, trial in enumerate(observed)}
        near = (index_of[candidate] for candidate in best if candidate in index_of)
        first = list(islice(near, LARGEST_HISTORY // 2)) or [0]
        features = self.features(trial.candidate for trial in observed)
        points = np.hstack([features.training, features.compression])
        kept = farthest_points(points, first, LARGEST_HISTORY)
        return [observed[index] for index in sorted(kept)]

    def features(self, candidates: Iterable[tuple[int, int]]) -> Features:
        """Features of some candidates or observations, by run and compression."""
        runs, columns = np.array(list(candidates), dtype=np.int64).reshape(-1, 2).T
        return Features(self._design_space.runs[runs], self._compressions[columns], runs)


def farthest_points(points: Floats, first: list[int], count: int) -> list[int]:
    """Indices of points that fill the space that all of them fill.

    Each index after the first ones is that of the point which is farthest from all before it
    (Gonzalez 1985, *Clustering to minimize the maximum intercluster distance*). Every feature
    counts in units of its standard deviation.

    Args:
        points: ``(n, features)``.
        first: Indices to begin with, at least one.
        count: Indices to return, up to n.
    """
    scaled = points / np.maximum(points.std(0), 1e-9)
    chosen = list(first)
    nearest = np.full(len(points), np.inf)
    for index in first:
        nearest = np.minimum(nearest, ((scaled - scaled[index]) ** 2).sum(1))
    # Two observations of one point (by several seeds) are both worth keeping, but come last.
    nearest[first] = -1.0
    while len(chosen) < count:
        farthest = int(nearest.argmax())
        chosen.append(farthest)
        nearest = np.minimum(nearest, ((scaled - scaled[farthest]) ** 2).sum(1))
        nearest[farthest] = -1.0
    return chosen
