"""Recovery after pruning: it lowers the loss, trials share it, and pruned weights stay zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from objectives.compression import model_file
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import layout
from spaces.cost.layout import Role
from spaces.file.search_file import SearchFile

BASE = Configuration(Architecture.of(1, 32), 40, Compression())
HEAVY = Compression(Quantisation.RTN_3, 32, Pruning.UNSTRUCTURED, 0.9)


@pytest.mark.slow
@pytest.mark.usefixtures("home")
def test_recovery_lowers_the_loss_after_heavy_pruning_and_counts_as_training(
    make_search: Callable[..., SearchFile],
) -> None:
    objective = Objective(make_search())
    pruned = objective.evaluate(replace(BASE, compression=HEAVY))
    recovered = objective.evaluate(replace(BASE, compression=replace(HEAVY, recovery=60.0)))
    assert recovered.loss < 0.9 * pruned.loss
    assert pruned.steps["total"] == 80
    assert recovered.steps == {"total": 140, "trained": 60, "reused": 80}
    assert recovered.training_flops > pruned.training_flops
    assert recovered.seconds["recovery"] > 0 == pruned.seconds["recovery"]
    assert recovered.dense_score == pruned.dense_score
    assert recovered.size_bytes == pytest.approx(pruned.size_bytes, abs=8)


@pytest.mark.usefixtures("home")
def test_pruned_weights_stay_zero(make_search: Callable[..., SearchFile]) -> None:
    search = make_search()
    objective = Objective(search)
    for pruning, sparsity in ((Pruning.UNSTRUCTURED, 0.8), (Pruning.SEMI_STRUCTURED, 0.5)):
        left = []
        for recovery in (0.0, 30.0):
            compression = Compression(pruning=pruning, sparsity=sparsity, recovery=recovery)
            result = objective.evaluate(replace(BASE, compression=compression))
            model = model_file.load(Path(objective.store.location(result.model)))
            weights = layout(compression.shape_of(BASE.architecture), search.workload).weights()
            left.append([model.get_parameter(w.name) for w in weights if w.role is Role.LINEAR])
        pruned, recovered = left
        assert not any(torch.equal(h, m) for h, m in zip(pruned, recovered, strict=True))
        for before, after in zip(pruned, recovered, strict=True):
            assert not after[before == 0].any()
        count = sum(weight.numel() for weight in recovered)
        zeros = sum(int((weight == 0).sum()) for weight in recovered)
        assert zeros == round(sparsity * count)
        if pruning is Pruning.SEMI_STRUCTURED:
            assert all(((w.reshape(-1, 4) != 0).sum(1) <= 2).all() for w in recovered)


@pytest.mark.usefixtures("home")
def test_a_recovery_is_trained_once(make_search: Callable[..., SearchFile]) -> None:
    compression = Compression(pruning=Pruning.STRUCTURED, sparsity=0.5, recovery=20.0)
    configuration = replace(BASE, compression=compression)
    Objective(make_search()).evaluate(configuration)
    again = Objective(make_search(name="again")).evaluate(configuration)
    assert again.steps == {"total": 100, "trained": 0, "reused": 100}
    # With quantisation it is another training: the forward pass rounds the weights.
    rounded = replace(compression, quantisation=Quantisation.RTN_2)
    other = Objective(make_search()).evaluate(replace(BASE, compression=rounded))
    assert other.steps["trained"] == 20
    # Another method with the same grid has the same training, and stores what was trained.
    results = []
    for quantisation in (Quantisation.RTN_2, Quantisation.GPTQ_2, Quantisation.HQQ_2):
        two_bits = replace(compression, quantisation=quantisation)
        results.append(Objective(make_search()).evaluate(replace(BASE, compression=two_bits)))
    assert [result.steps["trained"] for result in results] == [0, 0, 20]
    assert results[0].loss == results[1].loss != results[2].loss


@pytest.mark.usefixtures("home")
def test_a_model_without_compression_has_no_recovery(
    make_search: Callable[..., SearchFile],
) -> None:
    result = Objective(make_search()).evaluate(
        replace(BASE, compression=Compression(recovery=20.0))
    )
    assert result.steps["total"] == 80
