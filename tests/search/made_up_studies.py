"""Studies of made-up models whose truth is known, with the noise of real ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from search.analysis.claims.observations import Compressed, Observations, Run
from search.arrays import Floats
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.metric import accuracy, perplexity

SHAPES = tuple((depth, width) for depth in (1, 2, 4) for width in (32, 64, 128))
BUDGETS = (100.0, 200.0, 400.0, 800.0)
VOCABULARY = 2048
DROPS = {Quantisation.RTN_8: 0.0, Quantisation.RTN_4: 0.01, Quantisation.RTN_3: 0.1}
COST_NOISE = 0.003
"""Of the loss that compression adds, in nats."""
FIRST_LAYERS = 12 * 32**2


@dataclass(frozen=True)
class Truth:
    """What is true of made-up models: their loss is a power law of size, shape and training.

    Args:
        size: Change of log2 loss with each doubling of the parameters of layers, at equal steps.
        training: The same with each doubling of training.
        at_equal: What training counts: where it is ``flops`` or ``seconds``, ``size`` is the
            change at equal FLOPs or seconds.
        depth: Per cent of loss that four times the depth adds.
        compression: Whether compression costs anything.
        robust: Fraction of the cost of compression that each doubling of the parameters saves.
        longer: Nats that each doubling of training adds to the cost of compression.
        decay: Nats that the decay of the learning rate adds to it.
        architecture_noise: Standard deviation of the log loss that is peculiar to an architecture.
        path_noise: The same of a whole training path, an architecture with a seed.
        budget_noise: The same of one budget on a path.
        evaluation_noise: The same of one evaluation.
    """

    size: float = 0.0
    training: float = 0.0
    at_equal: str = "steps"
    depth: float = 0.0
    compression: bool = False
    robust: float = 0.0
    longer: float = 0.0
    decay: float = 0.0
    architecture_noise: float = 0.01
    path_noise: float = 0.01
    budget_noise: float = 0.003
    evaluation_noise: float = 0.003
    shapes: tuple[tuple[int, int], ...] = SHAPES
    budgets: tuple[float, ...] = BUDGETS
    is_perplexity: bool = True

    @cached_property
    def architectures(self) -> tuple[Architecture, ...]:
        return tuple(Architecture.of(*shape) for shape in self.shapes)

    def study(self, seeds: int, number: int) -> Observations:
        """A study of it, with so many seeds of training; another number draws other noise."""
        rng = np.random.default_rng(number)
        shape = (len(self.shapes), seeds, len(self.budgets))
        noise = (
            self.architecture_noise * rng.standard_normal(shape[0])[:, None, None]
            + self.path_noise * rng.standard_normal(shape[:2])[:, :, None]
            + self.budget_noise * rng.standard_normal(shape)
        )
        losses = np.exp(self._log_losses()[:, None, :] + noise)
        seen = losses * self._evaluations(rng, shape)
        kinds = len(DROPS)
        after = self._evaluations(rng, (*shape, kinds))
        peculiar = 1.0 + 0.1 * rng.standard_normal((shape[0], kinds))
        costs = self._costs(rng, (*shape, kinds))
        runs, compressed = [], []
        for (a, s, b), loss in np.ndenumerate(seen):
            run = self._run(self.architectures[a], s, b, float(loss))
            runs.append(run)
            for k, quantisation in enumerate(DROPS):
                drop = self._drop(run, quantisation) * peculiar[a, k]
                quality = 1.0 - losses[a, s, b] * after[a, s, b, k] / math.log(VOCABULARY)
                before = float(costs[a, s, b, k])
                compressed.append(
                    Compressed(
                        run=run,
                        compression=Compression(quantisation),
                        size_bytes=run.size_bytes * quantisation.bits // 32,
                        training_flops=run.training_flops,
                        seconds=run.seconds,
                        quality=float(quality * (1 - drop)),
                        cost=before + self.decay + COST_NOISE * float(rng.standard_normal()),
                        undecayed_cost=before,
                    )
                )
        metric = perplexity(VOCABULARY) if self.is_perplexity else accuracy(10)
        return Observations(("made-up",), metric, tuple(runs), tuple(compressed))

    def _evaluations(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return np.asarray(np.exp(self.evaluation_noise * rng.standard_normal(shape)))

    def _costs(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        """Loss that compression adds before the decay, of ``shape``."""
        noise = COST_NOISE * (
            rng.standard_normal(shape) + rng.standard_normal((*shape[:2], 1, shape[3]))
        )
        doublings = np.log2(np.array(self.budgets) / self.budgets[0])
        return np.asarray(0.02 + self.longer * doublings[:, None] + noise)

    def _log_losses(self) -> Floats:
        """Logarithm of the true loss, ``(architectures, budgets)``."""
        layers = np.array([_layers(each) for each in self.architectures])
        depths = np.array([each.depth for each in self.architectures])
        amounts = np.array(
            [[self._amount(each, budget) for budget in self.budgets] for each in self.architectures]
        )
        size = self.size * np.log2(layers / FIRST_LAYERS) * math.log(2)
        shape = math.log1p(self.depth / 100) * np.log(depths) / math.log(4)
        training = self.training * np.log(amounts / amounts.max())
        return np.asarray(math.log(4.0) + (size + shape)[:, None] + training)

    def _amount(self, architecture: Architecture, budget: float) -> float:
        flops = 6.0 * _layers(architecture) * 1e4 * budget
        return {"steps": budget, "flops": flops, "seconds": _seconds(architecture, budget)}[
            self.at_equal
        ]

    def _drop(self, run: Run, quantisation: Quantisation) -> float:
        if not self.compression:
            return 0.0
        doublings = math.log2(run.layer_parameters / FIRST_LAYERS)
        return DROPS[quantisation] * max(1.0 - self.robust * doublings, 0.05)

    def _run(self, architecture: Architecture, seed: int, budget: int, loss: float) -> Run:
        layers, amount = _layers(architecture), self.budgets[budget]
        return Run(
            architecture=architecture,
            budget=amount,
            seed=seed,
            steps=int(amount),
            training_flops=6.0 * layers * 1e4 * amount,
            seconds=_seconds(architecture, amount),
            parameters=layers + 2000,
            layer_parameters=layers,
            size_bytes=4 * (layers + 2000),
            loss=loss,
            quality=1.0 - loss / math.log(VOCABULARY),
            quality_error=self.evaluation_noise,
        )


def _layers(architecture: Architecture) -> int:
    return int(12 * architecture.depth * architecture.width**2)


def _seconds(architecture: Architecture, steps: float) -> float:
    """A step takes less than twice as long with twice the layers."""
    return float(0.01 * steps * (_layers(architecture) / FIRST_LAYERS) ** 0.6)
