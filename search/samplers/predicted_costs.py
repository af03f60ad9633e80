"""Measured costs of models that were not measured, predicted from those of some dozen others.

A forward pass takes the time of its parts: calls of kernels, matrix products, attention and what
reads and writes its activations. So its time is a sum of these amounts, each times a constant of
the machine and the runtime that is not negative (roofline models: Williams et al. 2009,
doi 10.1145/1498765.1498785; nn-Meter, Zhang et al. 2021, doi 10.1145/3458864.3467882, sums over
kernels likewise). Memory is such a sum too. The constants are those that fit the measured models
best, by their relative errors, and fewest of the outliers that a busy machine gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from search.arrays import Floats
from search.samplers.forward_work import SIZES, Work, sizes_of

ONE = "one"


class Columns(NamedTuple):
    """Amounts whose sum, each times a constant, is a cost.

    Args:
        shared: Those whose constants all models share; of ``SIZES``, or ``ONE``.
        own: Those that have constants for each kind of models.
    """

    shared: tuple[str, ...]
    own: tuple[str, ...]


OF_TIME = Columns(
    (ONE, "channels", "activations", "attention scores", "attention FLOPs",
     "FLOPs behind the layers"),
    ("layers", "linear FLOPs", "channels"),
)  # fmt: skip
OF_MEMORY = Columns(
    ("layers", "channels", "activations", "attention scores"), (ONE, "parameters", "bytes")
)

RIDGE = 0.1
"""Weight of a difference from the constants of all kinds together, beside that of a relative error:
columns are nearly collinear."""
OUTLIER = 0.1
"""Relative error above which a measurement counts less (Huber's loss)."""
ROUNDS = 20
"""Of the fit with these weights, which then hardly changes."""
FOLDS = 10


@dataclass(frozen=True)
class CostModel:
    """A measured cost as a function of what a forward pass does.

    Args:
        kinds: Kinds of models that have constants of their own.
        constants: Of each column.
    """

    columns: Columns
    kinds: tuple[str, ...]
    constants: Floats

    @classmethod
    def fitted(cls, columns: Columns, works: Sequence[Work], values: Floats) -> CostModel:
        """The model of some measured costs.

        Args:
            values: Positive, ``(len(works),)``.
        """
        kinds = tuple(sorted({work.kind for work in works}))
        # What few models of a kind do not tell, all of them do.
        shared = len(columns.shared)
        relative = _amounts(columns, works, ("",)) / values[:, None]
        pooled = _constants(relative, np.zeros(relative.shape[1]))
        expected = np.concatenate([pooled[:shared], np.tile(pooled[shared:], len(kinds))])
        relative = _amounts(columns, works, kinds) / values[:, None]
        return cls(columns, kinds, _constants(relative, expected))

    def predict(self, works: Sequence[Work]) -> Floats:
        """Predicted costs, ``(len(works),)``."""
        predicted: Floats = _amounts(self.columns, works, self.kinds) @ self.constants
        return predicted


def _constants(columns: Floats, expected: Floats) -> Floats:
    """Constants that are not negative, whose sum over columns is closest to 1."""
    scale = np.maximum(np.linalg.norm(columns, axis=0), 1e-300)
    columns = columns / scale
    weights = np.ones(len(columns))
    for _ in range(ROUNDS):
        rows = np.vstack([columns * weights[:, None], RIDGE * np.eye(len(scale))])
        constants, _ = nnls(rows, np.concatenate([weights, RIDGE * scale * expected]))
        errors = np.abs(columns @ constants - 1.0)
        weights = np.sqrt(OUTLIER / np.maximum(errors, OUTLIER))
    found: Floats = constants / scale
    return found


@dataclass(frozen=True)
class PredictionError:
    """Relative errors of predictions, of models whose measurement the prediction did not know.

    Args:
        p90: Of nine in ten, the error is lower.
    """

    median: float
    p90: float

    def __str__(self) -> str:
        return f"{self.median:.1%} (median) and {self.p90:.1%} (90th percentile)"


def cross_validated(columns: Columns, works: Sequence[Work], values: Floats) -> PredictionError:
    """The error of predictions, each from the measurements of other models."""
    predicted = np.empty(len(works))
    for fold in range(FOLDS):
        rest = [index for index in range(len(works)) if index % FOLDS != fold]
        model = CostModel.fitted(columns, [works[index] for index in rest], values[rest])
        predicted[fold::FOLDS] = model.predict(works[fold::FOLDS])
    return error_of(predicted, values)


def error_of(predicted: Floats, measured: Floats) -> PredictionError:
    """The relative errors of some predictions."""
    errors = np.abs(predicted / measured - 1.0)
    return PredictionError(*np.percentile(errors, (50, 90)).tolist())


def well_spread(works: Sequence[Work], most: int) -> list[int]:
    """Indices of at most so many models that fill the space of all: the smallest, and then each
    time the farthest from those before it, so that the extremes come first."""
    sizes = np.log(np.maximum(sizes_of(works), 1.0))
    points = (sizes - sizes.min(axis=0)) / np.maximum(np.ptp(sizes, axis=0), 1e-9)
    kinds = sorted({work.kind for work in works})
    of_kinds = np.array([[float(work.kind == kind) for kind in kinds] for work in works])
    points = np.hstack([points, of_kinds])
    chosen = [int(np.argmin(sizes[:, SIZES.index("linear FLOPs")]))]
    distances = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(most, len(works)):
        chosen.append(int(np.argmax(distances)))
        distances = np.minimum(distances, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


def _amounts(columns: Columns, works: Sequence[Work], kinds: Sequence[str]) -> Floats:
    """The amounts of some models, ``(len(works), columns)``; the kind "" has all models."""
    sizes = {ONE: np.ones(len(works)), **dict(zip(SIZES, sizes_of(works).T, strict=True))}
    amounts = [sizes[name] for name in columns.shared]
    for kind in kinds:
        has = np.array([float(kind in ("", work.kind)) for work in works])
        amounts += [has * sizes[name] for name in columns.own]
    return np.column_stack(amounts)
