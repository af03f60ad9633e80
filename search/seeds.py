"""Repeats of trials with further seeds of training: which are missing, and the spread of scores.

A search compares configurations on one seed. What it selects was often lucky on that seed, so the
scores of further seeds, which had no part in the selection, say how good a configuration is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

from search.pareto import frontier
from search.storage.trials import BEGINNING, Changes, TrialRecord
from spaces.cost.configuration import Configuration
from spaces.cost.criteria import Criteria
from spaces.cost.metric import Metric, text

FEWEST_FOR_AN_INTERVAL = 3
"""Seeds; with two, the 95 % t-interval is twelve times as wide as their spread."""


@dataclass(frozen=True)
class Repeat:
    """A trial to repeat with another seed.

    Args:
        number: Of the trial that is repeated.
        configuration: With the other seed.
    """

    number: int
    configuration: Configuration

    @property
    def seed(self) -> int:
        """The other seed."""
        return self.configuration.seed


class Repeats:
    """Repeats with further seeds, by the trial that they repeat."""

    def __init__(self, records: Iterable[TrialRecord]) -> None:
        self._of: dict[int, list[TrialRecord]] = defaultdict(list)
        for record in records:
            if record.repeats is not None:
                self._of[record.repeats].append(record)

    def __bool__(self) -> bool:
        return bool(self._of)

    def of(self, record: TrialRecord) -> list[TrialRecord]:
        """Repeats of a trial, by number."""
        return self._of.get(record.number, [])

    def missing(self, records: Iterable[TrialRecord], seeds: int) -> list[Repeat]:
        """Repeats that some trials lack to have so many seeds, their own included.

        A repeat that failed is not missing: its failure is its result.
        """
        lacking = []
        for record in records:
            own = record.configuration.seed
            started = {each.configuration.seed for each in self.of(record)}
            lacking += [
                Repeat(record.number, record.configuration.with_seed(seed))
                for seed in range(own + 1, own + seeds)
                if seed not in started
            ]
        return lacking


def tested(
    records: Sequence[TrialRecord], repeats: Sequence[TrialRecord], criteria: Criteria
) -> list[TrialRecord]:
    """Complete trials that are scored on the test split: the frontier, and whatever was repeated
    with its repeats."""
    members = {record.number for record in frontier(records, criteria)}
    known = Repeats(repeats)
    chosen = [record for record in records if record.number in members or known.of(record)]
    return [record for record in (*chosen, *repeats) if record.is_complete]


class Tested:
    """What ``tested`` returns, kept up with a study."""

    def __init__(self) -> None:
        self.mark = BEGINNING
        self._begin()

    def _begin(self) -> None:
        self._complete: dict[int, TrialRecord] = {}
        self._members: list[TrialRecord] = []
        self._repeats: list[TrialRecord] = []

    def update(self, changes: Changes, criteria: Criteria) -> list[TrialRecord]:
        """Merge the changes since ``mark``; returns the trials as they are now."""
        self.mark = changes.mark
        if changes.is_whole:
            self._begin()
        new = [each for each in changes.finished if each.is_complete and each.repeats is None]
        self._complete |= {each.number: each for each in new}
        self._members = frontier([*self._members, *new], criteria)
        self._repeats += [each for each in changes.finished if each.repeats is not None]
        repeated = (each.repeats for each in (*self._repeats, *changes.running))
        chosen = {each.number: each for each in self._members}
        chosen |= {n: self._complete[n] for n in repeated if n is not None and n in self._complete}
        return [*chosen.values(), *(each for each in self._repeats if each.is_complete)]


@dataclass(frozen=True)
class Spread:
    """Scores of one configuration over seeds of training.

    Args:
        seeds: Number of seeds.
        mean: Mean score.
        sd: Sample standard deviation; None with one seed.
        low: Lower end of the 95 % t-interval of the mean; None with fewer than three seeds.
        high: Its upper end.
    """

    seeds: int
    mean: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, scores: Sequence[float], metric: Metric) -> Spread | None:
        """The spread of some scores; None without a score."""
        if not scores:
            return None
        count, mean = len(scores), fmean(scores)
        if count == 1:
            return cls(count, mean)
        sd = stdev(scores)
        if count < FEWEST_FOR_AN_INTERVAL:
            return cls(count, mean, sd)
        half = float(stdtrit(count - 1, 0.975)) * sd / math.sqrt(count)
        low, high = (metric.clipped(mean + side * half) for side in (-1, 1))
        return cls(count, mean, sd, low, high)


@dataclass(frozen=True)
class SeedScores:
    """The scores of a trial and of its repeats with further seeds of training.

    Args:
        repeats: Numbers of the complete repeats.
        failed: Number of repeats that failed.
        score: Scores on validation over all seeds.
        further: Scores on validation over the further seeds alone, which had no part in the
            selection of the trial; None while there is none.
        test: Scores on test over all seeds; None before the final test.
        further_test: Scores on test over the further seeds alone.
    """

    repeats: tuple[int, ...]
    failed: int
    score: Spread
    further: Spread | None
    test: Spread | None
    further_test: Spread | None

    @classmethod
    def of(
        cls,
        record: TrialRecord,
        repeats: Repeats,
        tests: Mapping[int, Mapping[str, Any]],
        metric: Metric,
    ) -> SeedScores | None:
        """The scores of a complete trial; None where no repeat of it has finished.

        Args:
            tests: Results on test, by trial number.
        """
        finished = [each for each in repeats.of(record) if each.is_finished]
        if not finished or not record.is_complete:
            return None
        complete = [each for each in finished if each.is_complete]
        scores = [each.result["score"] for each in complete]
        on_test = [
            tests[each.number]["score"]
            for each in complete
            if "score" in tests.get(each.number, {})
        ]
        own_test = tests.get(record.number, {})
        every_test = [own_test["score"], *on_test] if "score" in own_test else on_test
        spread = Spread.of([record.result["score"], *scores], metric)
        assert spread is not None
        return cls(
            repeats=tuple(each.number for each in complete),
            failed=len(finished) - len(complete),
            score=spread,
            further=Spread.of(scores, metric),
            test=Spread.of(every_test, metric),
            further_test=Spread.of(on_test, metric),
        )


def deviation_text(deviation: float) -> str:
    """A standard deviation of two digits."""
    return f"{deviation:#.2g}".rstrip(".")


def spread_text(spread: Spread, metric: str) -> str:
    """A spread as people write it: ``0.709 ± 0.007 (2 seeds)``, mean and standard deviation."""
    deviation = "" if spread.sd is None else f" ± {deviation_text(spread.sd)}"
    return f"{text(metric, spread.mean)}{deviation} ({spread.seeds} seed{'s' * (spread.seeds > 1)})"
