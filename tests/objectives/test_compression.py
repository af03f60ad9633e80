"""Compression: what was saved is what is measured, and rubbish is refused by name."""

from __future__ import annotations

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

from objectives import artefact
from objectives import compress as compress_module
from objectives.artefact import ArtefactError
from objectives.batches import Batch
from objectives.compress import compress
from objectives.failures import TrialFailure
from objectives.flops import count_forward_flops
from objectives.model import build_classifier, encoder_layers
from objectives.pruning import prune_structured, prune_unstructured
from objectives.quantisation import QuantisedWeight, dequantise, round_to_nearest
from objectives.static_int8 import StaticInt8Linear
from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning, Quantisation
from spaces.shapes import Workload

ARCHITECTURE = Architecture.of(2, 64)
WORKLOAD = Workload(vocabulary_size=300, sequence_length=16, classes=3)
STRUCTURED, UNSTRUCTURED = Pruning.STRUCTURED, Pruning.UNSTRUCTURED

MATRIX = [
    Compression(Quantisation.NONE),
    Compression(Quantisation.NONE, 32, UNSTRUCTURED, 0.7),
    Compression(Quantisation.RTN_8, 32, STRUCTURED, 0.5),
    Compression(Quantisation.RTN_4, 32, UNSTRUCTURED, 0.5),
    Compression(Quantisation.RTN_3),
    Compression(Quantisation.STATIC_8, 32, STRUCTURED, 0.5),
]


@pytest.fixture(scope="module")
def calibration() -> list[Batch]:
    torch.manual_seed(1)
    batches = []
    for _ in range(3):
        tokens = torch.randint(5, 300, (16, 16))
        labels = tokens[:, 3] % 3
        mask = torch.ones_like(tokens)
        batches.append({"input_ids": tokens, "attention_mask": mask, "labels": labels})
    return batches


@pytest.fixture(scope="module")
def model(calibration: list[Batch]) -> nn.Module:
    """A classifier that has learnt its calibration batches, so that its answers are clear."""
    torch.manual_seed(0)
    trained = build_classifier(ARCHITECTURE, WORKLOAD)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=2e-3)
    for step in range(60):
        batch = calibration[step % len(calibration)]
        loss = functional.cross_entropy(logits(trained, batch), batch["labels"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return trained.eval()


@pytest.fixture
def unchanged(model: nn.Module) -> Iterator[None]:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    yield
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def logits(model: nn.Module, batch: Batch) -> torch.Tensor:
    result: torch.Tensor = model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits
    return result


@pytest.mark.usefixtures("unchanged")
def test_every_cell_of_the_matrix_gives_the_same_outputs_in_a_fresh_process(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    inputs = {"input_ids": calibration[0]["input_ids"]}
    save_file(inputs, str(tmp_path / "inputs.safetensors"))
    outputs = {}
    for index, compression in enumerate(MATRIX):
        folder = tmp_path / str(index)
        loaded = compress(model, ARCHITECTURE, WORKLOAD, compression, calibration, folder)
        with torch.inference_mode():
            outputs[index] = loaded(**inputs).logits
    script = (
        "import sys, pathlib, torch\n"
        "from safetensors.torch import load_file, save_file\n"
        "from objectives import artefact\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "inputs = load_file(root / 'inputs.safetensors')\n"
        "with torch.inference_mode():\n"
        "    outputs = {folder.name: artefact.load(folder)(**inputs).logits\n"
        "               for folder in root.iterdir() if folder.is_dir()}\n"
        "assert 'neural_compressor' not in sys.modules\n"
        "save_file(outputs, root / 'outputs.safetensors')\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    again = load_file(str(tmp_path / "outputs.safetensors"))
    for index in outputs:
        assert torch.equal(again[str(index)], outputs[index]), MATRIX[index]


def test_mild_compression_keeps_the_answers(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    before = torch.cat([logits(model, batch) for batch in calibration])
    for quantisation in (Quantisation.RTN_8, Quantisation.STATIC_8):
        loaded = compress(
            model, ARCHITECTURE, WORKLOAD, Compression(quantisation), calibration,
            tmp_path / quantisation,
        )  # fmt: skip
        after = torch.cat([logits(loaded, batch) for batch in calibration])
        assert (after - before).abs().max() < 0.1 * before.abs().max()
        assert not torch.equal(after, before)


def test_static_int8_replaces_every_linear_layer(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    loaded = compress(
        model, ARCHITECTURE, WORKLOAD, Compression(Quantisation.STATIC_8), calibration,
        tmp_path / "static",
    )  # fmt: skip
    kinds = [type(module) for module in loaded.modules()]
    assert nn.Linear not in kinds
    assert kinds.count(StaticInt8Linear) == 6 * ARCHITECTURE.depth + 2


@pytest.mark.parametrize("bits", [8, 4, 3])
def test_round_to_nearest_is_within_half_a_step(bits: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(20, 100)
    weight[3, 7] = 0.0
    quantised = round_to_nearest(weight, bits=bits, group_size=32)
    error = (dequantise(quantised) - weight).abs()
    steps = quantised.scales.float().repeat_interleave(32, dim=1)[:, :100]
    assert (error <= 0.51 * steps + 1e-3 * weight.abs()).all()
    assert dequantise(quantised)[3, 7] == 0.0
    assert quantised.scales.shape == (20, 4)


@pytest.mark.usefixtures("unchanged")
def test_structured_pruning_executes_fewer_flops(
    model: nn.Module, calibration: list[Batch]
) -> None:
    tokens = calibration[0]["input_ids"][:1]
    pruned = prune_structured(model, ARCHITECTURE, 0.5, calibration)
    assert count_forward_flops(pruned, tokens) < 0.55 * count_forward_flops(model, tokens)
    for layer in encoder_layers(pruned):
        assert layer.intermediate.dense.weight.shape == (128, 64)
        assert layer.attention.self.query.weight.shape == (32, 64)


def test_structured_pruning_removes_what_does_nothing(
    model: nn.Module, calibration: list[Batch]
) -> None:
    import copy

    idle = copy.deepcopy(model)
    with torch.no_grad():
        for layer in encoder_layers(idle):
            layer.output.dense.weight[:, 128:] = 0.0
            layer.attention.output.dense.weight[:, :32] = 0.0
    pruned = prune_structured(idle, ARCHITECTURE, 0.5, calibration)
    for batch in calibration:
        assert torch.allclose(logits(pruned, batch), logits(idle, batch), atol=1e-4)


@pytest.mark.usefixtures("unchanged")
def test_unstructured_pruning_zeroes_the_smallest_weights(model: nn.Module) -> None:
    pruned = prune_unstructured(model, 0.6)
    pairs = [
        (module.weight.flatten(), pruned.get_parameter(f"{name}.weight").flatten())
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    before, after = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    assert int((after == 0).sum()) == round(0.6 * len(before))
    assert before[after == 0].abs().max() <= before[after != 0].abs().min()


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
    monkeypatch.setattr(compress_module, "round_to_nearest", replacement)
    with pytest.raises(TrialFailure) as caught:
        compress(
            model, ARCHITECTURE, WORKLOAD, Compression(Quantisation.RTN_8), calibration,
            tmp_path / "model",
        )  # fmt: skip
    assert caught.value.state == state


def test_an_infinite_weight_is_found(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    import copy

    infinite = copy.deepcopy(model)
    with torch.no_grad():
        encoder_layers(infinite)[0].output.dense.weight[0, 0] = float("inf")
    with pytest.raises(TrialFailure) as caught:
        compress(
            infinite, ARCHITECTURE, WORKLOAD, Compression(Quantisation.RTN_4), calibration,
            tmp_path / "model",
        )  # fmt: skip
    assert caught.value.state == "not_finite"


def test_a_result_that_is_not_smaller_is_found(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    # One weight in a hundred removed saves less than the mask costs.
    compression = Compression(Quantisation.NONE, 32, UNSTRUCTURED, 0.01)
    with pytest.raises(TrialFailure) as caught:
        compress(model, ARCHITECTURE, WORKLOAD, compression, calibration, tmp_path / "model")
    assert caught.value.state == "not_smaller"


def test_an_artefact_holds_no_pickle_and_damage_is_told(
    model: nn.Module, calibration: list[Batch], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    compress(
        model, ARCHITECTURE, WORKLOAD, Compression(Quantisation.RTN_4), calibration, folder
    )  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(ArtefactError, match="format 99"):
        artefact.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        artefact.load(folder)
