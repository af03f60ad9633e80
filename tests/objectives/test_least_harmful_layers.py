"""Which layers of a checkpoint a shallower model keeps by their influence on hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from objectives.models.checkpoint.errors import CheckpointError
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from tests.checkpoint_searches import checkpoint_of, search_from, start_of, task_of
from tests.checkpoints import TASKS, WIDTH, save_checkpoint, save_kind, texts_of

OUTPUTS = ("output.dense", "o_proj", "out_proj", "down_proj", "fc2")
"""Linear layers that write to the residual stream, by the ends of their names."""
IDENTITIES = {"encoder": 2, "decoder": 0}
"""The layer that changes nothing, of the only stack or an encoder's, and of a decoder."""


def let_layers_do_nothing(folder: Path) -> None:
    """Zero what one layer of each stack adds to the residual stream."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    for name, tensor in weights.items():
        layer = IDENTITIES["decoder" if ".decoder." in name else "encoder"]
        if f".{layer}." in f".{name}" and name.rpartition(".")[0].endswith(OUTPUTS):
            tensor.zero_()
    save_file(weights, file, metadata={"format": "pt"})


@pytest.fixture(params=["bert", "llama_lm", "vit", "mbart"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(kind: str, corpus: Path, translations: Path, tmp_path: Path) -> Path:
    made = save_kind(tmp_path / "tiny", kind, corpus, translations)
    let_layers_do_nothing(made)
    return made


def test_a_layer_that_does_nothing_goes_first(
    folder: Path, kind: str, task_documents: dict[str, Any], tmp_path: Path
) -> None:
    document = task_documents[TASKS[kind]]
    search = search_from(folder, tmp_path / "store", document, layers="least-harmful")
    task = task_of(search, tmp_path / "data")
    assert task.start is not None
    trained = task.start.opened.load(task.workload.classes).state_dict()
    checkpoint = checkpoint_of(search)
    depths = [stack.depth - 1 for stack in checkpoint.layout.stacks]
    architecture = checkpoint.architecture(
        depths[0], WIDTH, decoder_depth=depths[1] if len(depths) > 1 else None
    )
    kept = start_of(task, architecture).state_dict()
    for stack, identity in zip(checkpoint.layout.stacks, IDENTITIES.values(), strict=False):
        layers = [layer for layer in range(stack.depth) if layer != identity]
        for index, layer in enumerate(layers):
            for weight in stack.weights:
                now = kept[f"{stack.prefix}.{index}.{weight.name}"]
                assert torch.equal(now, trained[f"{stack.prefix}.{layer}.{weight.name}"])


def test_models_with_other_layers_share_no_training(
    document: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "bert", texts_of(corpus))
    keys = set()
    for layers in ("evenly-spaced", "least-harmful"):
        search = search_from(folder, tmp_path / "store", document, layers=layers)
        architecture = checkpoint_of(search).architecture(2, WIDTH)
        configuration = Configuration(architecture, 20.0, Compression())
        keys.add(task_of(search, tmp_path / "data").path(configuration).key)
    assert len(keys) == 2


def test_layers_of_several_kinds_can_only_be_evenly_spaced(
    document: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "modernbert", texts_of(corpus))
    with pytest.raises(CheckpointError, match="its layers are of several kinds"):
        search_from(folder, tmp_path / "store", document, layers="least-harmful")
