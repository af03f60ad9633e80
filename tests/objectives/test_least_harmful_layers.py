"""Which layers of a checkpoint a shallower model keeps by their influence on hidden states."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from objectives.models.checkpoint.errors import CheckpointError
from spaces.file.search_file import SearchFile
from tests.checkpoint_searches import (
    checkpoint_of,
    configuration_of,
    search_of,
    start_of,
    task_of,
)
from tests.checkpoints import (
    DEPTH,
    WIDTH,
    save_checkpoint,
    save_images_checkpoint,
    save_translator,
    texts_of,
)

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
    made = tmp_path / "tiny"
    if kind == "vit":
        save_images_checkpoint(made)
    elif kind == "mbart":
        files = [translations / f"train.{side}.gz" for side in ("source", "target")]
        texts = [gzip.decompress(file.read_bytes()).decode() for file in files]
        save_translator(made, kind, "".join(texts).split("\n"))
    else:
        save_checkpoint(made, kind, texts_of(corpus))
    let_layers_do_nothing(made)
    return made


def search_from(
    folder: Path, kind: str, documents: dict[str, Any], layers: str = "least-harmful"
) -> SearchFile:
    task, data = (documents["classification"][part] for part in ("task", "data"))
    tasks: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "bert": (task, {"labelled": data["labelled"], "sequence_length": 16}),
        "llama_lm": (
            {"name": "causal-lm"}, {"unlabelled": data["unlabelled"], "sequence_length": 16},
        ),
        "vit": ({"name": "image-classification", "classes": 10}, {"images": {"source": "digits"}}),
        "mbart": (
            {"name": "translation"},
            {"parallel": documents["translation"]["data"]["parallel"], "sequence_length": 16},
        ),
    }  # fmt: skip
    own, reads = tasks[kind]
    space = {"depth": {"low": 1, "high": DEPTH}, "width": WIDTH, "budget": {"choices": [20.0]}}
    return search_of(folder, folder / "store", own, reads, space, layers=layers)


def test_a_layer_that_does_nothing_goes_first(
    folder: Path, kind: str, task_documents: dict[str, Any], tmp_path: Path
) -> None:
    search = search_from(folder, kind, task_documents)
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
    task_documents: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "bert", texts_of(corpus))
    keys = set()
    for layers in ("evenly-spaced", "least-harmful"):
        search = search_from(folder, "bert", task_documents, layers)
        configuration = configuration_of(search, {"depth": 2, "width": WIDTH}, 20.0)
        keys.add(task_of(search, tmp_path / "data").path(configuration).key)
    assert len(keys) == 2


def test_layers_of_several_kinds_can_only_be_evenly_spaced(
    task_documents: dict[str, Any], corpus: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "modernbert", texts_of(corpus))
    with pytest.raises(CheckpointError, match="its layers are of several kinds"):
        search_from(folder, "bert", task_documents)
