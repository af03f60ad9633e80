"""The bootstrap over seeds and validation examples.

Everything downstream is arithmetic on arrays whose first axis is the draw: row 0 is what was
measured, each further row is one draw, so that a statistic and its interval are one computation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.analysis.claims.observations import Compressed, Observations, Run
from search.arrays import Floats, Integers
from spaces.cost.architecture import Architecture

DRAWS = 2000
SEED = 0


@dataclass(frozen=True)
class Resampled:
    """Measurements of each model and budget, averaged over seeds, with their draws.

    Args:
        cells: One run for each architecture and budget; its loss and quality are not used.
        loss: Validation loss before compression, ``(1 + DRAWS, cells)``.
        quality: Quality before compression, ``(1 + DRAWS, cells)``.
        compressed: One for each cell and compression.
        parents: Cell of each compressed model, ``(compressed,)``.
        compressed_quality: Quality after compression, ``(1 + DRAWS, compressed)``.
        architectures: The architectures, by size.
        weights: How often each architecture was drawn, ``(1 + DRAWS, architectures)``; 1 in row 0.
    """

    observations: Observations
    cells: tuple[Run, ...]
    loss: Floats
    quality: Floats
    compressed: tuple[Compressed, ...]
    parents: Integers
    compressed_quality: Floats
    architectures: tuple[Architecture, ...]
    weights: Floats

    def error(self, cell: int) -> float:
        """Standard error of a cell's quality."""
        return float(self.quality[1:, cell].std())


def resample(observations: Observations) -> Resampled:
    """Draw seeds and evaluation noise ``DRAWS`` times.

    Replicates of a model are drawn with replacement, a model and its compressions together. The
    noise of an evaluation is normal with its recorded standard error, and drawn for each model on
    its own. All models are evaluated on the same examples, so that true differences vary less:
    intervals are rather too wide than too narrow.
    """
    rng = np.random.default_rng(SEED)
    grouped: dict[tuple[Architecture, float], list[Run]] = defaultdict(list)
    for run in observations.runs:
        grouped[run.cell].append(run)
    replicates = list(grouped.values())
    cells = tuple(group[0] for group in replicates)
    losses, qualities, drawn = [], [], []
    for group in replicates:
        counts = _counts(rng, len(group))
        drawn.append(counts)
        noisy_loss = _noisy(rng, [(run.loss, run.loss_error) for run in group])
        noisy_quality = _noisy(rng, [(run.quality, run.quality_error) for run in group])
        losses.append(_mean(noisy_loss, counts))
        qualities.append(_mean(noisy_quality, counts))
    compressed, parents, after = _compressions(observations, replicates, drawn, rng)
    by_size = {run.architecture: run.parameters for run in cells}
    architectures = tuple(sorted(by_size, key=lambda each: (by_size[each], each)))
    return Resampled(
        observations=observations,
        cells=cells,
        loss=_columns(losses),
        quality=_columns(qualities),
        compressed=compressed,
        parents=parents,
        compressed_quality=after,
        architectures=architectures,
        weights=_counts(rng, len(architectures)),
    )


def _compressions(
    observations: Observations,
    replicates: list[list[Run]],
    drawn: list[Floats],
    rng: np.random.Generator,
) -> tuple[tuple[Compressed, ...], Integers, Floats]:
    """The compressions of each cell, with the replicates that were drawn of the cell."""
    indices = {group[0].cell: cell for cell, group in enumerate(replicates)}
    groups: dict[tuple[int, str], dict[int, Compressed]] = defaultdict(dict)
    for each in observations.compressed:
        key = (indices[each.run.cell], repr(each.compression))
        groups[key].setdefault(each.run.seed, each)
    kept, parents, columns = [], [], []
    for (cell, _), by_seed in groups.items():
        group = list(by_seed.values())
        seeds = [run.seed for run in replicates[cell]]
        counts = drawn[cell][:, [seeds.index(seed) for seed in by_seed]]
        # A draw may hold none of the seeds that have this compression: then all of them count.
        counts = np.where(counts.sum(axis=1, keepdims=True) == 0, 1.0, counts)
        noisy = _noisy(rng, [(each.quality, each.quality_error) for each in group])
        kept.append(group[0])
        parents.append(cell)
        columns.append(_mean(noisy, counts))
    return tuple(kept), np.array(parents, dtype=np.int64), _columns(columns)


def _counts(rng: np.random.Generator, count: int) -> Floats:
    """How often each of some things is drawn, ``(1 + DRAWS, count)``: once each in row 0."""
    if count == 0:
        return np.ones((1 + DRAWS, 0))
    drawn = rng.multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
    return np.vstack([np.ones((1, count)), drawn]).astype(np.float64)


def _noisy(rng: np.random.Generator, measured: Sequence[tuple[float, float]]) -> Floats:
    """Values with noise, ``(1 + DRAWS, values)``: without in row 0."""
    values, errors = np.array(measured, dtype=np.float64).T
    noise = rng.standard_normal((1 + DRAWS, len(values)))
    noise[0] = 0.0
    return np.asarray(values + errors * noise)


def _mean(values: Floats, counts: Floats) -> Floats:
    return np.asarray((values * counts).sum(axis=1) / counts.sum(axis=1))


def _columns(columns: list[Floats]) -> Floats:
    return np.stack(columns, axis=1) if columns else np.empty((1 + DRAWS, 0))
