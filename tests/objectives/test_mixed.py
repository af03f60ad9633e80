"""Mixed bits: their choice, their bytes, and the models that they give."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.compression.model_file import ModelSpec
from objectives.compression.packing import MIN_CODES, bits_of, pack, packed_bytes, unpack
from objectives.compression.pipeline import write_compressed
from objectives.compression.prune import prune
from objectives.compression.quantise.mixed import BITS, allocated
from objectives.compression.quantise.weights import QuantisedWeight
from objectives.data.batches import Batch
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for, loss
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.size import size_bytes
from spaces.cost.workload import Family
from tests.objectives.learnt import learnt_model

Q = Quantisation
FAMILY = Family.LLAMA
ARCHITECTURE, WORKLOAD = architecture_for(FAMILY, 3, 64), WORKLOADS[FAMILY]


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return [batch_for(WORKLOAD, count=8, seed=seed) for seed in range(2)]


@pytest.fixture(scope="module")
def model(batches: list[Batch]) -> nn.Module:
    """A model that has learnt its batches."""
    return learnt_model(ARCHITECTURE, WORKLOAD, batches, learning_rate=3e-3)


def written(
    compression: Compression, model: nn.Module, batches: list[Batch], folder: Path
) -> dict[str, QuantisedWeight]:
    """The codes of a model's file."""
    spec = ModelSpec(ARCHITECTURE, WORKLOAD, compression)
    write_compressed(prune(model, spec, batches, loss), spec, batches, folder)
    stored = model_file.read_weights(folder, spec)
    return {name: each for name, each in stored.items() if isinstance(each, QuantisedWeight)}


@pytest.mark.parametrize("bits", [2.0, 2.6, 3.5, 5.0, 8.0])
def test_the_chosen_bits_have_the_least_effect_within_the_bytes(bits: float) -> None:
    rng = np.random.default_rng(int(10 * bits))
    counts = {name: int(rng.integers(20, 200)) for name in "abcd"}
    effects = {
        name: float(10 ** rng.uniform(-6, 0)) * 0.25 ** np.array(BITS, dtype=np.float64)
        for name in counts
    }
    most = sum(counts.values()) * bits / 8
    within = [
        dict(zip(counts, chosen, strict=True))
        for chosen in itertools.product(BITS, repeat=len(counts))
        if sum(packed_bytes(n, b) for n, b in zip(counts.values(), chosen, strict=True)) <= most
    ]

    def effect(chosen: dict[str, int]) -> float:
        return sum(effects[name][BITS.index(each)] for name, each in chosen.items())

    if not within:
        with pytest.raises(ValueError, match="no bits"):
            allocated(effects, counts, bits)
        return
    chosen = allocated(effects, counts, bits)
    assert chosen in within
    assert effect(chosen) == pytest.approx(min(map(effect, within)), rel=1e-3, abs=1e-9)


@pytest.mark.parametrize("quantisation", [Q.MIXED_2_5, Q.MIXED_3_5, Q.MIXED_5], ids=str)
def test_their_file_takes_no_more_than_is_predicted(
    quantisation: Quantisation, model: nn.Module, batches: list[Batch], tmp_path: Path
) -> None:
    compression = Compression(quantisation)
    codes = written(compression, model, batches, tmp_path)
    count = sum(each.codes.numel() for each in codes.values())
    mean = sum(each.codes.numel() * each.bits for each in codes.values()) / count
    assert quantisation.bits - 0.1 < mean <= quantisation.bits
    assert len({each.bits for each in codes.values()}) > 1
    predicted = size_bytes(ARCHITECTURE, WORKLOAD, compression)
    assert 0.97 * predicted < model_file.bytes_on_disk(tmp_path) < 1.003 * predicted


@pytest.mark.slow
def test_they_lose_no_more_than_equal_bits(
    model: nn.Module, batches: list[Batch], tmp_path: Path
) -> None:
    losses = {}
    for quantisation in (Q.NONE, Q.GPTQ_3, Q.MIXED_3, Q.MIXED_3_5):
        folder = tmp_path / quantisation
        written(Compression(quantisation), model, batches, folder)
        loaded = model_file.load(folder)
        with torch.no_grad():
            losses[quantisation] = sum(loss(loaded, batch).item() for batch in batches)
    added = {each: losses[each] - losses[Q.NONE] for each in losses}
    assert added[Q.MIXED_3] < 1.1 * added[Q.GPTQ_3]
    assert added[Q.MIXED_3_5] < added[Q.MIXED_3]


def test_pruned_weights_have_no_codes(
    model: nn.Module, batches: list[Batch], tmp_path: Path
) -> None:
    compression = Compression(Q.MIXED_3, 32, Pruning.UNSTRUCTURED, 0.9)
    codes = written(compression, model, batches, tmp_path)
    predicted = size_bytes(ARCHITECTURE, WORKLOAD, compression)
    assert model_file.bytes_on_disk(tmp_path) < 1.003 * predicted
    linear = [each for name, each in codes.items() if "embed" not in name]
    zeros = sum(int((each.codes == 0).sum()) for each in linear)
    assert zeros >= 0.9 * sum(each.codes.numel() for each in linear) - len(linear)


def test_bits_follow_from_the_bytes_of_packed_codes() -> None:
    for count, bits in itertools.product(range(1, 40), range(1, 9)):
        codes = np.zeros(count, dtype=np.int8)
        packed = pack(codes, bits)
        assert len(packed) == packed_bytes(count, bits)
        if count >= MIN_CODES or bits == 8:
            assert bits_of(packed, count) == bits
            assert (unpack(packed, count, bits) == codes).all()


def test_few_codes_have_eight_bits() -> None:
    effects = {name: 0.25 ** np.array(BITS, dtype=np.float64) for name in ("few", "many")}
    chosen = allocated(effects, {"few": MIN_CODES - 1, "many": 1000}, 3.2)
    assert chosen == {"few": 8, "many": 3}


def test_recovery_rounds_nothing_for_them() -> None:
    pruned = Compression(Q.MIXED_3, sparsity=0.5, recovery=20.0)
    assert pruned.effective(ARCHITECTURE) == pruned
    alone = Compression(Q.MIXED_3, recovery=20.0)
    assert alone.effective(ARCHITECTURE) == Compression(Q.MIXED_3)
