"""What the surrogate learns from trials: how each compression came out, and each trained model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import numpy as np

from search.samplers.frontier.design_space import DesignSpace, Trial
from search.samplers.gp.kernel import Features

LARGEST_HISTORY = 512
"""History that the surrogate starts from; of more, the best and the latest."""


class History:
    """Of a trial its own result, and of the first one of a run also the model before compression.

    That model is scored when its training ends, so whoever compresses it once knows two points of
    the surface. Its configuration need not be on the design_space.

    Args:
        design_space: What can be chosen.
    """

    def __init__(self, design_space: DesignSpace) -> None:
        self._design_space = design_space
        self._dense = len(design_space.compressions)
        self._compressions = np.vstack(
            [design_space.compressions, np.zeros_like(design_space.compressions[:1])]
        )
        self._by_trial: list[list[Trial]] = []
        self._known: set[int] = set()
        """Runs whose model before compression was observed."""

    def add(self, trial: Trial) -> None:
        """Take a finished trial in."""
        if not trial.is_informative:
            self._by_trial.append([])
            return
        is_dense = not self._compressions[trial.compression].any()
        is_new = trial.run not in self._known
        observed = [trial] if is_new or not is_dense else []
        if is_new and not is_dense and trial.dense is not None:
            observed.append(replace(trial, compression=self._dense, quality=trial.dense))
        if (is_dense and trial.quality is not None) or len(observed) > 1:
            self._known.add(trial.run)
        self._by_trial.append(observed)

    def since(self, trials: int) -> list[Trial]:
        """What the trials after the first so many tell."""
        return list(chain.from_iterable(self._by_trial[trials:]))

    def informative(self, trials: int) -> list[Trial]:
        """What the first so many trials tell; of much, the best and the latest."""
        observed = list(chain.from_iterable(self._by_trial[:trials]))
        if len(observed) <= LARGEST_HISTORY:
            return observed
        half = LARGEST_HISTORY // 2
        best = sorted(observed[:-half], key=lambda trial: -(trial.quality or 0.0))
        return [*best[:half], *observed[-half:]]

    def features(self, observed: Iterable[Trial]) -> Features:
        """Where observations lie."""
        places = [(trial.run, trial.compression) for trial in observed]
        runs, columns = np.array(places, dtype=np.int64).reshape(-1, 2).T
        return Features(self._design_space.runs[runs], self._compressions[columns], runs)
