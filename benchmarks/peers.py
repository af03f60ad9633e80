"""Multi-objective optimisers of other libraries as row samplers of recorded tables.

They get the grid of level indices, in which every dimension is ordinal and evenly spaced, and two
objectives: maximise accuracy, minimise log size. Their packages are optional; ``available`` returns
those that are installed.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from search.replay.replay import RowSampler
from search.replay.row_samplers import POPULATION, RandomRowSampler
from search.replay.table import Table
from search.samplers.optuna_samplers import DRAWS

if TYPE_CHECKING:
    from torch import Tensor


class BoTorchRowSampler(RandomRowSampler):
    """qLogNEHVI over the untried rows, with a Gaussian process for each objective."""

    CANDIDATES = 1000

    def __init__(self, table: Table, seed: int) -> None:
        import torch

        super().__init__(table, seed)
        self._inputs = torch.from_numpy(table.points / np.array(list(self._top.values())))
        self._start = 2 * (len(self._top) + 1)
        self._told: list[int] = []
        self._running: list[int] = []
        # Parameters of the last fit, and the number of rows that it used.
        self._fitted: list[dict[str, Any]] = []
        self._fitted_to = 0

    def _choose(self) -> int:
        asked = len(self._told) + len(self._running)
        if asked < self._start or 2 * len(self._told) < self._start:
            row = self._random_row()
        else:
            row = self._best_row()
        self._running.append(row)
        return row

    def tell(self, row: int) -> None:
        self._running.remove(row)
        self._told.append(row)

    def _best_row(self) -> int:
        import torch
        from botorch.acquisition.multi_objective.logei import (
            qLogNoisyExpectedHypervolumeImprovement,
        )
        from botorch.models import ModelListGP
        from botorch.sampling import SobolQMCNormalSampler

        rows = np.flatnonzero(self._untried)
        if len(rows) > self.CANDIDATES:
            rows = self._rng.choice(rows, self.CANDIDATES, replace=False)
        seed = int(self._rng.integers(2**31))
        # BoTorch also draws from the global generator.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            gains = -torch.tensor([self._costs(row) for row in self._told], dtype=torch.float64)
            gains = (gains - gains.mean(0)) / gains.std(0).clamp_min(1e-9)
            # A tenth of the range below the worst value, so that the ends of the frontier count.
            worst, best = gains.min(0).values, gains.max(0).values
            acquisition = qLogNoisyExpectedHypervolumeImprovement(
                ModelListGP(*self._models(gains)),
                ref_point=worst - 0.1 * (best - worst),
                X_baseline=self._inputs[self._told],
                X_pending=self._inputs[self._running] if self._running else None,
                sampler=SobolQMCNormalSampler(torch.Size([128]), seed=seed),
                prune_baseline=True,
            )
            with torch.no_grad():
                values = acquisition(self._inputs[rows].unsqueeze(1))
        return int(rows[values.argmax().item()])

    def _models(self, gains: Tensor) -> list[Any]:
        """A Gaussian process for each column; fitted again after each tenth of growth."""
        from botorch.exceptions import ModelFittingError
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from gpytorch.mlls import ExactMarginalLogLikelihood

        inputs = self._inputs[self._told]
        models = [
            SingleTaskGP(inputs, column.unsqueeze(1), outcome_transform=None)
            for column in gains.unbind(1)
        ]
        for model, fitted in zip(models, self._fitted, strict=False):
            model.load_state_dict(fitted)
        if len(self._told) >= 1.1 * self._fitted_to:
            for model in models:
                # A failed fit rolls back to the parameters that the model came with.
                with suppress(ModelFittingError):
                    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            self._fitted = [model.state_dict() for model in models]
            self._fitted_to = len(self._told)
        return models


class SyneTuneRowSampler(RandomRowSampler):
    """MO-REA, Syne Tune's multi-objective regularised evolution."""

    def __init__(self, table: Table, seed: int) -> None:
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.multiobjective import (
            MultiObjectiveRegularizedEvolution,
        )
        from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import (
            NonDominatedPriority,
        )

        class Ranks(NonDominatedPriority):
            """Each element's rank, where 0.16 returns the elements in the order of rank."""

            def priority_unsafe(self, objectives: np.ndarray) -> np.ndarray:
                return np.argsort(super().priority_unsafe(objectives))

        super().__init__(table, seed)
        self._search = MultiObjectiveRegularizedEvolution(
            {name: randint(0, top) for name, top in self._top.items()},
            population_size=POPULATION,
            multiobjective_priority=Ranks(),
            random_seed=seed,
        )

    def _choose(self) -> int:
        # Its first generation would come from NumPy's global generator, which has no seed.
        if len(self._search.population) < POPULATION:
            return self._random_row()
        for _ in range(DRAWS["nsgaii"]):
            row = self._untried_at(self._search.suggest())
            if row is not None:
                return row
        return self._random_row()

    def tell(self, row: int) -> None:
        self._search.on_trial_complete(row, self._params(row), self._costs(row))


class SmacRowSampler(RandomRowSampler):
    """SMAC3's random forests on ParEGO's scalarised objectives."""

    def __init__(self, table: Table, seed: int) -> None:
        from ConfigSpace import ConfigurationSpace, Integer
        from smac import HyperparameterOptimizationFacade as Facade
        from smac import Scenario
        from smac.multi_objective.parego import ParEGO

        super().__init__(table, seed)
        logging.getLogger("smac").setLevel(logging.CRITICAL)
        self._space = ConfigurationSpace(
            space={name: Integer(name, (0, top)) for name, top in self._top.items()}, seed=seed
        )
        self._folder = tempfile.TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            self._space,
            objectives=["error", "log_size"],
            output_directory=self._folder.name,
            deterministic=True,
            n_trials=len(table),
            seed=seed,
        )
        self._smac = Facade(
            scenario,
            initial_design=Facade.get_initial_design(scenario, n_configs=2 * (len(self._top) + 1)),
            # A second evaluation of a configuration would give the same row.
            intensifier=Facade.get_intensifier(scenario, max_config_calls=1),
            multi_objective_algorithm=ParEGO(scenario),
            # A new scalarisation for each proposal; the default keeps one for eight.
            config_selector=Facade.get_config_selector(scenario, retrain_after=1),
            logging_level=False,
        )
        self._trials: dict[int, Any] = {}

    def _choose(self) -> int:
        from ConfigSpace import Configuration

        for _ in range(DRAWS["nsgaii"]):
            try:
                trial = self._smac.ask()
            except StopIteration:
                break
            row = self._untried_at(dict(trial.config))
            if row is not None:
                self._trials[row] = trial
                return row
            # A configuration that the table lacks stays running: SMAC does not propose it again.
        row = self._random_row()
        config = Configuration(self._space, values=self._params(row))
        self._trials[row] = replace(trial, config=config)
        return row

    def tell(self, row: int) -> None:
        from smac.runhistory import TrialValue

        self._smac.tell(self._trials.pop(row), TrialValue(cost=self._costs(row)), save=False)


def available() -> dict[str, Callable[[Table, int], RowSampler]]:
    """The row samplers whose packages are installed, by name."""
    makers: dict[str, tuple[str, Callable[[Table, int], RowSampler]]] = {
        "botorch-qlognehvi": ("botorch", BoTorchRowSampler),
        "syne-tune-morea": ("syne_tune", SyneTuneRowSampler),
        "smac-parego": ("smac", SmacRowSampler),
    }
    return {name: make for name, (package, make) in makers.items() if find_spec(package)}
