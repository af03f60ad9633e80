"""The latency cache: one measurement for a shape and machine, before any training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from objectives.compression import model_file
from objectives.measurement import latency_cache
from objectives.objective import Objective
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace

BASE = Configuration(Architecture.of(1, 32), 40, Compression())


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The models that were measured, each as on a quiet machine."""
    real, models = latency_cache.measure_latency, []

    def measure(model: Any, *rest: Any, **named: Any) -> Any:
        models.append(model)
        taken = replace(real(model, *rest, **named), noisy=False)
        same = {"reference_p10_ms": 1.0, "reference_min_ms": 1.0}
        best = {"best_reference_p10_ms": 1.0, "best_reference_min_ms": 1.0}
        return replace(taken, **same, **best)

    monkeypatch.setattr(latency_cache, "measure_latency", measure)
    return models


@pytest.mark.usefixtures("home")
def test_a_latency_is_known_before_training_and_not_measured_again(
    make_search: Callable[..., SearchFile], measured: list[object]
) -> None:
    objective = Objective(make_search())
    before = objective.latency_cache.of_untrained(BASE)
    assert len(measured) == 1
    assert objective.store.entries("checkpoints") == []
    assert objective.evaluate(BASE).latency == before
    # Another process on the same machine, another budget: the same shape.
    again = Objective(make_search()).evaluate(replace(BASE, budget=20))
    assert again.latency == before
    assert len(measured) == 1


@pytest.mark.usefixtures("home")
def test_compressions_that_run_alike_share_one_latency(
    make_search: Callable[..., SearchFile], measured: list[object]
) -> None:
    cache = Objective(make_search()).latency_cache
    dense = cache.of_untrained(BASE)
    for compression in (
        Compression(Quantisation.RTN_4, 32),
        Compression(Quantisation.RTN_8, 16, Pruning.UNSTRUCTURED, 0.5),
    ):
        assert cache.of_untrained(BASE.with_compression(compression)) == dense
    assert len(measured) == 1
    cache.of_untrained(BASE.with_compression(Compression(sparsity=0.5)))
    cache.of_untrained(BASE.with_compression(Compression(Quantisation.STATIC_8)))
    assert len(measured) == 3


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("quantisation", [Quantisation.NONE, Quantisation.STATIC_8])
def test_untrained_and_trained_models_have_the_same_shapes(
    make_search: Callable[..., SearchFile], measured: list[object], quantisation: Quantisation
) -> None:
    objective = Objective(make_search())
    pruned = BASE.with_compression(Compression(quantisation, 32, Pruning.STRUCTURED, 0.5))
    objective.latency_cache.of_untrained(pruned)
    objective.evaluate(pruned)
    assert len(measured) == 1


@pytest.mark.usefixtures("home")
def test_other_conditions_are_measured_anew(
    make_search: Callable[..., SearchFile], measured: list[object]
) -> None:
    Objective(make_search()).latency_cache.of_untrained(BASE)
    Objective(make_search(measurement__batch_size=2)).latency_cache.of_untrained(BASE)
    assert len(measured) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("home", "one_thread")
def test_a_search_in_onnx_runtime_has_the_costs_of_its_files(
    make_search: Callable[..., SearchFile],
    measured: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    search = make_search(measurement__runtime="onnxruntime")
    four_bits = BASE.with_compression(Compression(Quantisation.RTN_4))
    objective = Objective(search)
    untrained = objective.latency_cache.of_untrained(four_bits)
    assert untrained.runtime == "onnxruntime"
    assert len(measured) == 1
    # The graphs of the model and of the reference are exported once.
    assert len(objective.store.entries("graphs")) == 2
    monkeypatch.setattr(torch.onnx, "export", None)
    objective = Objective(search)
    found = objective.evaluate(four_bits)
    assert found.latency == untrained
    with objective.store.open(found.model) as stored:
        assert stored is not None
        packed = model_file.bytes_on_disk(stored)
    assert packed < found.size_bytes < packed + 20_000
    assert found.predicted_size_bytes == pytest.approx(found.size_bytes, rel=0.03)
    assert SearchSpace(search).cost(four_bits).size_mb == found.predicted_size_bytes / 1e6
    # Codes of four bits and less have the kernel of four, and dense weights another one.
    cache = objective.latency_cache
    three_bits = BASE.with_compression(Compression(Quantisation.GPTQ_3))
    assert cache.of_untrained(three_bits) == untrained
    assert len(measured) == 1
    cache.of_untrained(BASE)
    assert len(measured) == 2
