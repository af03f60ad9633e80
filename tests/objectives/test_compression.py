"""Compression: the saved model is the measured one, and unusable results are refused by state."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from objectives.compression import model_file, pipeline
from objectives.compression.model_file import ModelFileError, ModelSpec
from objectives.compression.pipeline import compress
from objectives.compression.prune import prune
from objectives.compression.quantise.methods import METHODS, each_matrix
from objectives.compression.quantise.rtn import round_to_nearest
from objectives.compression.quantise.static_int8 import StaticInt8Linear
from objectives.compression.quantise.weights import QuantisedWeight
from objectives.data.batches import Batch, forward_arguments, logits
from objectives.failures import TrialFailure
from objectives.measurement.flops import count_forward_flops
from objectives.models.build import build
from objectives.testing.pytest_compressors import CompressorTestCase, compress_tiny
from objectives.testing.tiny_models import WORKLOADS, architecture_for, batch_for, loss
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.families import layout
from spaces.cost.layout import Role
from spaces.cost.workload import Family
from spaces.grid.analytic_cost import analytic_cost
from tests.objectives.learnt import learnt_model

ARCHITECTURE = architecture_for(Family.MODERNBERT_CLASSIFIER, 2, 64)
WORKLOAD = WORKLOADS[Family.MODERNBERT_CLASSIFIER]
Q, P = Quantisation, Pruning

MATRIX = [
    # The graph of static int8 takes seconds to make: once for each family, on what pruning left.
    # GPTQ and HQQ take long too, and store at other bits what they store at four.
    *(
        Compression(quantisation)
        for quantisation in Quantisation
        if not quantisation.is_static
        and (quantisation.bits == 4 or not quantisation.optimises_codes)
    ),
    *(Compression(pruning=kind, sparsity=0.5) for kind in Pruning),
    Compression(Q.RTN_8, 32, P.LAYERS, 0.5),
    Compression(Q.RTN_4, 32, P.UNSTRUCTURED, 0.5),
    Compression(Q.BF16, 32, P.SEMI_STRUCTURED, 0.5),
    Compression(Q.HQQ_4, 16, P.SEMI_STRUCTURED, 0.5),
    Compression(Q.SMOOTH_8, 32, P.SEMI_STRUCTURED, 0.5),
    Compression(Q.RTN_3, 32, P.NEURONS, 0.9, recovery=20.0),
]


def spec(compression: Compression) -> ModelSpec:
    return ModelSpec(ARCHITECTURE, WORKLOAD, compression)


def pruned(model: nn.Module, compression: Compression, batches: list[Batch]) -> nn.Module:
    return prune(model, spec(compression), batches, loss)


def linear_weights(model: nn.Module, compression: Compression) -> list[torch.Tensor]:
    weights = layout(compression.shape_of(ARCHITECTURE), WORKLOAD).weights()
    return [model.get_parameter(w.name) for w in weights if w.role is Role.LINEAR]


@pytest.fixture(scope="module")
def calibration() -> list[Batch]:
    return [batch_for(WORKLOAD, count=16, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def model(calibration: list[Batch]) -> nn.Module:
    """A classifier that has learnt its calibration batches, so that its predictions are clear."""
    return learnt_model(ARCHITECTURE, WORKLOAD, calibration, learning_rate=2e-3)


@pytest.fixture
def unchanged(model: nn.Module) -> Iterator[None]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


class TestBuiltIn(CompressorTestCase):
    @pytest.fixture(scope="class", params=MATRIX, ids=str)
    def compression(self, request: pytest.FixtureRequest) -> Compression:
        assert isinstance(request.param, Compression)
        return request.param


LOAD_AGAIN = """
import pathlib, sys, torch
from safetensors.torch import load_file, save_file
from objectives.compression import model_file
root = pathlib.Path(sys.argv[1])
inputs = load_file(root / "inputs.safetensors")
folders = [folder for folder in root.iterdir() if folder.is_dir()]
outputs = {f.name: model_file.load(f)(**inputs).logits.detach().contiguous() for f in folders}
assert "neural_compressor" not in sys.modules
save_file(outputs, root / "outputs.safetensors")
"""


PACKED = [
    Compression(Q.RTN_3),
    Compression(Q.RTN_4, 32, P.UNSTRUCTURED, 0.5),
    Compression(Q.HQQ_4, 16, P.SEMI_STRUCTURED, 0.5),
    Compression(Q.SMOOTH_8, 32, P.SEMI_STRUCTURED, 0.5),
]


@pytest.mark.slow
def test_a_fresh_process_loads_the_same_models(tmp_path: Path) -> None:
    here: dict[str, torch.Tensor] = {}
    for index, compression in enumerate(PACKED):
        compressed = compress_tiny(compression, Family.MODERNBERT_CLASSIFIER, tmp_path / f"{index}")
        inputs = forward_arguments(compressed.batches[0])
        here[f"{index}"] = logits(compressed.loaded(), inputs).detach()
    save_file({k: v.contiguous() for k, v in inputs.items()}, tmp_path / "inputs.safetensors")
    subprocess.run([sys.executable, "-c", LOAD_AGAIN, str(tmp_path)], check=True)
    again = load_file(tmp_path / "outputs.safetensors")
    for index, compression in enumerate(PACKED):
        assert torch.equal(again[f"{index}"], here[f"{index}"]), compression


def test_mild_compression_keeps_the_logits(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    before = torch.cat([logits(model, batch) for batch in calibration])
    for quantisation in (Quantisation.RTN_8, Quantisation.STATIC_8):
        loaded = compress(
            model, spec(Compression(quantisation)), calibration,
            tmp_path / quantisation,
        )  # fmt: skip
        after = torch.cat([logits(loaded, batch) for batch in calibration])
        assert (after - before).abs().max() < 0.1 * before.abs().max()
        assert not torch.equal(after, before)


def test_static_int8_replaces_every_linear_layer(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    loaded = compress(
        model, spec(Compression(Quantisation.STATIC_8)), calibration,
        tmp_path / "static",
    )  # fmt: skip
    kinds = [type(module) for module in loaded.modules()]
    assert nn.Linear not in kinds
    assert kinds.count(StaticInt8Linear) == 4 * ARCHITECTURE.depth + 2


@pytest.mark.usefixtures("unchanged")
def test_structured_pruning_executes_fewer_flops(
    model: nn.Module, calibration: list[Batch]
) -> None:
    inputs = {"input_ids": calibration[0]["input_ids"][:1]}
    dense = count_forward_flops(model, inputs)
    for kind, at_most in {
        P.STRUCTURED: 0.55,
        P.LAYERS: 0.55,
        P.NEURONS: 0.75,
        P.HEADS: 0.9,
    }.items():
        smaller = pruned(model, Compression(pruning=kind, sparsity=0.5), calibration)
        assert count_forward_flops(smaller, inputs) < at_most * dense, kind


@pytest.mark.usefixtures("unchanged")
def test_structured_pruning_removes_what_does_nothing(
    model: nn.Module, calibration: list[Batch]
) -> None:
    idle = copy.deepcopy(model)
    with torch.no_grad():
        for layer in idle.base_model.layers:
            layer.mlp.Wo.weight[:, 128:] = 0.0
            layer.attn.Wo.weight[:, :32] = 0.0
    for kind in (P.STRUCTURED, P.HEADS, P.NEURONS):
        smaller = pruned(idle, Compression(pruning=kind, sparsity=0.5), calibration)
        for batch in calibration:
            assert torch.allclose(logits(smaller, batch), logits(idle, batch), atol=1e-4), kind


def test_the_layer_that_matters_least_is_removed(calibration: list[Batch]) -> None:
    torch.manual_seed(0)
    architecture = architecture_for(Family.LLAMA, 3, 64)
    workload = WORKLOADS[Family.LLAMA]
    whole: Any = build(architecture.shape, workload).eval()
    with torch.no_grad():
        # Before normalisation the residual stream passes a layer that adds nothing.
        whole.model.layers[1].self_attn.o_proj.weight.zero_()
        whole.model.layers[1].mlp.down_proj.weight.zero_()
    batch = batch_for(workload, count=8)
    with torch.no_grad():
        expected = logits(whole, batch)

    def distance(model: nn.Module, batch: Batch) -> torch.Tensor:
        return functional.mse_loss(logits(model, batch), expected)

    compression = Compression(pruning=P.LAYERS, sparsity=0.34)
    smaller = prune(whole, ModelSpec(architecture, workload, compression), [batch], distance)
    assert torch.allclose(logits(smaller, batch), logits(whole, batch), atol=1e-5)


@pytest.mark.usefixtures("unchanged")
def test_unstructured_pruning_zeroes_the_smallest_weights(
    model: nn.Module, calibration: list[Batch]
) -> None:
    compression = Compression(pruning=P.UNSTRUCTURED, sparsity=0.6)
    smaller = pruned(model, compression, calibration)
    before, after = (
        torch.cat([weight.flatten() for weight in linear_weights(each, compression)])
        for each in (model, smaller)
    )
    assert int((after == 0).sum()) == round(0.6 * len(before))
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()


@pytest.mark.usefixtures("unchanged")
def test_two_of_every_four_neighbours_stay(model: nn.Module, calibration: list[Batch]) -> None:
    compression = Compression(pruning=P.SEMI_STRUCTURED, sparsity=0.5)
    smaller = pruned(model, compression, calibration)
    for before, after in zip(
        linear_weights(model, compression), linear_weights(smaller, compression), strict=True
    ):
        groups, kept = before.reshape(-1, 4), after.reshape(-1, 4) != 0
        assert (kept.sum(1) == 2).all()
        smallest_kept = groups.abs().masked_fill(~kept, torch.inf).amin(1)
        assert (groups.abs().masked_fill(kept, 0.0).amax(1) <= smallest_kept).all()


def broken_codes(factor: float) -> Any:
    def quantise(weight: torch.Tensor, *, bits: int, group_size: int) -> QuantisedWeight:
        real = round_to_nearest(weight, bits=bits, group_size=group_size)
        return QuantisedWeight(real.codes, real.scales * factor, bits, real.group_size)

    return quantise


@pytest.mark.parametrize(
    ("replacement", "state"),
    [
        (broken_codes(float("nan")), "not_finite"),
        (broken_codes(0.0), "constant"),
        (broken_codes(-1.0), "disagrees"),
        (lambda *_, **__: 1 / 0, "compression_error"),
    ],
)
@pytest.mark.usefixtures("unchanged")
def test_a_broken_quantiser_is_found(
    replacement: Any,
    state: str,
    model: nn.Module,
    calibration: list[Batch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(METHODS, "rtn", each_matrix(replacement))
    monkeypatch.setattr(pipeline, "ROUND_EMBEDDINGS", each_matrix(replacement))
    with pytest.raises(TrialFailure) as caught:
        compress(
            model, spec(Compression(Quantisation.RTN_8)), calibration,
            tmp_path / "model",
        )  # fmt: skip
    assert caught.value.state == state
    # What the compressor raised is a fault inside it, which only a traceback explains.
    assert ("ZeroDivisionError" in caught.value.traceback) == (state == "compression_error")


def test_an_infinite_weight_is_found(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    infinite = copy.deepcopy(model)
    with torch.no_grad():
        infinite.base_model.layers[0].mlp.Wo.weight[0, 0] = float("inf")
    with pytest.raises(TrialFailure) as caught:
        compress(
            infinite, spec(Compression(Quantisation.RTN_4)), calibration,
            tmp_path / "model",
        )  # fmt: skip
    assert caught.value.state == "not_finite"


def test_a_result_that_is_not_smaller_is_found(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    # One weight in a hundred removed saves less than the mask costs.
    compression = Compression(Q.NONE, 32, P.UNSTRUCTURED, 0.01)
    with pytest.raises(TrialFailure) as caught:
        compress(
            pruned(model, compression, calibration), spec(compression),
            calibration, tmp_path / "model",
        )  # fmt: skip
    assert caught.value.state == "not_smaller"
    assert not analytic_cost(ARCHITECTURE, compression, WORKLOAD).is_smaller


def test_pruning_that_removes_nothing_gives_the_dense_model(
    calibration: list[Batch], tmp_path: Path
) -> None:
    architecture = architecture_for(Family.MODERNBERT_CLASSIFIER, 1, 64)
    compression = Compression(pruning=P.LAYERS, sparsity=0.5)
    torch.manual_seed(0)
    dense = build(architecture.shape, WORKLOAD).eval()
    loaded = compress(
        dense, ModelSpec(architecture, WORKLOAD, compression), calibration, tmp_path / "model"
    )
    assert torch.equal(logits(loaded, calibration[0]), logits(dense, calibration[0]))
    assert analytic_cost(architecture, compression, WORKLOAD).is_smaller


def test_a_model_file_holds_no_pickle_and_damage_is_reported(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    compress(
        model, spec(Compression(Quantisation.RTN_4)), calibration, folder
    )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ModelFileError, match="format 99"):
        model_file.load(folder)
    saved = {"architecture": {**config["architecture"], "depth": 10**9}}
    for hostile in ("[]", "[" * 100_000, json.dumps({**config, **saved})):
        (folder / "config.json").write_text(hostile)
        with pytest.raises(ModelFileError, match=r"describe|cannot be read"):
            model_file.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ModelFileError, match="cannot be loaded"):
        model_file.load(folder)
