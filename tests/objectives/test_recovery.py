"""Training after pruning: it mends, it is shared, and what was pruned stays away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from objectives import artefact
from objectives.objective import Objective
from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning, Quantisation
from spaces.configuration import Configuration
from spaces.search_file import SearchFile

BASE = Configuration(Architecture.of(1, 32), 40, Compression())
HEAVY = Compression(Quantisation.RTN_3, 32, Pruning.UNSTRUCTURED, 0.9)


@pytest.mark.usefixtures("home")
def test_recovery_mends_heavy_pruning_and_counts_as_training(
    make_search: Callable[..., SearchFile],
) -> None:
    objective = Objective(make_search())
    harmed = objective.evaluate(replace(BASE, compression=HEAVY))
    mended = objective.evaluate(replace(BASE, compression=replace(HEAVY, recovery=60.0)))
    assert mended.loss < 0.9 * harmed.loss
    assert harmed.steps["total"] == 80
    assert mended.steps == {"total": 140, "trained": 60, "reused": 80}
    assert mended.training_flops > harmed.training_flops
    assert mended.seconds["recovery"] > 0 == harmed.seconds["recovery"]
    assert mended.dense_score == harmed.dense_score
    assert mended.size_bytes == pytest.approx(harmed.size_bytes, abs=8)


@pytest.mark.usefixtures("home")
def test_what_was_pruned_stays_away(make_search: Callable[..., SearchFile]) -> None:
    objective = Objective(make_search())
    compression = Compression(pruning=Pruning.UNSTRUCTURED, sparsity=0.8, recovery=30.0)
    result = objective.evaluate(replace(BASE, compression=compression))
    model = artefact.load(Path(objective.store.location(result.model)))
    weights = [
        p for name, p in model.named_parameters() if "dense.weight" in name or "query" in name
    ]
    matrices = [weight for weight in weights if weight.ndim == 2]
    zeros = sum(int((weight == 0).sum()) for weight in matrices)
    assert zeros > 0.5 * sum(weight.numel() for weight in matrices)


@pytest.mark.usefixtures("home")
def test_a_recovery_is_trained_once(make_search: Callable[..., SearchFile]) -> None:
    compression = Compression(pruning=Pruning.STRUCTURED, sparsity=0.5, recovery=20.0)
    configuration = replace(BASE, compression=compression)
    Objective(make_search()).evaluate(configuration)
    again = Objective(make_search(name="again")).evaluate(configuration)
    assert again.steps == {"total": 100, "trained": 0, "reused": 100}
    # Quantised afterwards in another way, it is another training: weights were seen as rounded.
    rounded = replace(compression, quantisation=Quantisation.RTN_2)
    other = Objective(make_search()).evaluate(replace(BASE, compression=rounded))
    assert other.steps["trained"] == 20


@pytest.mark.usefixtures("home")
def test_without_anything_to_recover_from_nothing_is_trained(
    make_search: Callable[..., SearchFile],
) -> None:
    result = Objective(make_search()).evaluate(
        replace(BASE, compression=Compression(recovery=20.0))
    )
    assert result.steps["total"] == 80
