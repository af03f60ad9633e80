"""Checkpoints that no model can start from are refused before any compute, each with a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.resolve import resolved, with_checkpoints
from spaces.errors import UserError
from spaces.file.model import Model
from spaces.file.search_file import SearchFile
from spaces.file.sources import Data
from spaces.file.tasks import Classification
from spaces.loading import SearchFileError, from_document
from tests.checkpoints import save_checkpoint, texts_of
from tests.objectives.hub import local_hub

TASK = Classification(name="classification", classes=2)


@pytest.fixture(scope="module")
def whole(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("whole"), "bert", texts_of(corpus))


@pytest.fixture
def checkpoint(whole: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(whole, tmp_path / "checkpoint"))


def opened(source: Any) -> Model:
    return resolved(Model.model_validate({"from": str(source)}), TASK, Data()).model


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def with_pickled_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.rename(folder / "pytorch_model.bin")


def cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def with_lost_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def with_weights_that_are_no_numbers(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["encoder.layer.1.output.dense.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def of_another_size(folder: Path) -> None:
    edit(folder / "config.json", intermediate_size=128)


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def with_a_damaged_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def of_an_unknown_type(folder: Path) -> None:
    edit(folder / "config.json", model_type="unheard-of")


def with_code_of_its_own(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModel": "modeling.Own"})
    (folder / "modeling.py").write_text("raise SystemExit('code of a checkpoint was run')")


def with_a_head_for_another_task(folder: Path) -> None:
    edit(folder / "config.json", architectures=["BertForQuestionAnswering"])


def of_a_kind_without_a_classifier(folder: Path) -> None:
    edit(folder / "config.json", model_type="vit", architectures=["ViTModel"])


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def with_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def without_pad_token(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    del config["pad_token"]
    file.write_text(json.dumps(config))


def with_the_tokenizer_of_a_larger_model(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"piece{n}": 1000 + n for n in range(3)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_weights, "it has no weights: no *.safetensors file"),
        (with_pickled_weights, "can run code when it is read (pickle); allowed are *.safetensors"),
        (cut_off, "model.safetensors is damaged"),
        (with_lost_weights, "1 of its weights are missing"),
        (with_weights_that_are_no_numbers, "holds no finite numbers"),
        (of_another_size, "not of the shape that config.json says"),
        (without_config, "it has no config.json"),
        (with_a_damaged_config, "its config.json cannot be read"),
        (of_an_unknown_type, "transformers has no model of type 'unheard-of'"),
        (with_code_of_its_own, "needs code of its own repository (auto_map)"),
        (
            with_a_head_for_another_task,
            "it is a BertForQuestionAnswering, with the head",
        ),
        (of_a_kind_without_a_classifier, "no AutoModelForSequenceClassification of type 'vit'"),
        (without_tokenizer, "it has no tokenizer"),
        (with_a_damaged_tokenizer, "its tokenizer cannot be read"),
        (without_pad_token, "its tokenizer has no pad token, which the task needs"),
        (with_the_tokenizer_of_a_larger_model, "they are of different models"),
    ],
)
def test_an_unsuited_checkpoint_is_refused(
    damage: Callable[[Path], None], sentence: str, checkpoint: Path
) -> None:
    damage(checkpoint)
    with pytest.raises(CheckpointError) as refusal:
        opened(checkpoint)
    assert isinstance(refusal.value, UserError)
    assert str(refusal.value).startswith(f"model.from: '{checkpoint}': ")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("/nowhere/at/all", "there is no such folder"),
        (
            "package:no_such_package_of_weights",
            "no package no_such_package_of_weights is",
        ),
        ("package:spaces", "the package holds no config.json with weights beside it"),
    ],
)
def test_a_missing_checkpoint_is_refused(source: str, sentence: str) -> None:
    with pytest.raises(CheckpointError, match=r"model\.from") as refusal:
        opened(source)
    assert sentence in str(refusal.value)


def test_a_whole_checkpoint_is_described(checkpoint: Path) -> None:
    described = opened(checkpoint).checkpoint
    assert described is not None
    assert (described.depth, described.attention, described.vocabulary) == (4, 32, 300)


def test_another_weight_is_another_checkpoint(checkpoint: Path) -> None:
    before = opened(checkpoint).checkpoint
    tensors = load_file(checkpoint / "model.safetensors")
    tensors["encoder.layer.1.output.dense.bias"][0] += 1.0
    save_file(tensors, checkpoint / "model.safetensors", {"format": "pt"})
    after = opened(checkpoint).checkpoint
    assert before is not None
    assert after is not None
    assert before.digest != after.digest


@pytest.fixture
def search(document: dict[str, Any], whole: Path) -> dict[str, Any]:
    """A search from the checkpoint; a test may change it."""
    data = {"labelled": document["data"]["labelled"], "sequence_length": 16}
    space = {"depth": {"choices": [1, 4]}, "width": 32, "budget": {"choices": [20.0]}}
    return {
        "name": "pretrained", "task": document["task"], "data": data, "space": space,
        "model": {"from": str(whole)}, "training": {"batch_size": 8}, "trials": 2,
    }  # fmt: skip


def validated(document: dict[str, Any]) -> SearchFile:
    search = from_document(document)
    return with_checkpoints(search, Path(search.storage.store or ""))[0]


def test_the_rates_of_training_suit_pretrained_weights(search: dict[str, Any]) -> None:
    assert validated(search).training.learning_rate == 1e-4
    search["training"]["learning_rate"] = 3e-4
    assert validated(search).training.learning_rate == 3e-4


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("space.depth", 5, "space.depth: 5 layers are asked for; the checkpoint has 4"),
        ("space.width", 40, "space.width: 40 channels of heads cannot be kept; the checkpoint has"),
        ("space.width", 12, "allowed are multiples of 8"),
        ("space.feed_forward", 65, "65 feed-forward neurons are asked for; the checkpoint has 64"),
        ("space.vocabulary", 9000, "space.vocabulary: 9,000 pieces are asked for"),
        ("space.heads", 2, "space.heads: a checkpoint keeps as many heads as space.width"),
        ("space.head_width", 8, "space.head_width: the heads of a checkpoint keep their channels"),
        ("space.feed_forward_ratio", 2.0, "space.feed_forward_ratio: a checkpoint keeps a number"),
        ("space.activation", "relu", "space.activation: a checkpoint keeps its own; leave it out"),
        ("space.tied_embeddings", False, "space.tied_embeddings: a checkpoint keeps its own head"),
        ("training.dropout", 0.2, "training.dropout: 0.2, but a checkpoint keeps its own dropout"),
        ("space.training", {"dropout": 0.1}, "space.training.dropout: a checkpoint keeps its own"),
        ("data.sequence_length", 64, "data.sequence_length: 64 is more than the 40 positions"),
        ("data.unlabelled", {"source": "standard_library"}, "from a checkpoint does not read it"),
        ("training.fine_tuning", {}, "the budget of a search from a checkpoint is fine-tuning"),
        ("task.encoder", "roberta", "task.encoder: the models of a search from a checkpoint are"),
        ("model.from", "no such name", "model.from: 'no such name' is no checkpoint; allowed are"),
        ("model.revision", "main", "model.revision: "),
        ("model.description", "{}", "model.description: is not what tlc writes"),
    ],
)
def test_a_space_that_asks_for_what_the_checkpoint_lacks_is_refused(
    field: str, value: Any, sentence: str, search: dict[str, Any]
) -> None:
    section, name = field.split(".")
    search[section] = {**search[section], name: value}
    with pytest.raises(SearchFileError) as refusal:
        validated(search)
    assert sentence in str(refusal.value)


def test_a_search_from_random_weights_trims_no_vocabulary(document: dict[str, Any]) -> None:
    space = {**document["space"], "vocabulary": 300}
    with pytest.raises(SearchFileError, match=r"space\.vocabulary: trims the vocab"):
        from_document({**document, "space": space})


@pytest.fixture
def hub(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Hub that has the checkpoint as ``owner/tiny``, and an empty cache."""
    from huggingface_hub import constants

    files = {file.name: file.read_bytes() for file in whole.iterdir()}
    with local_hub("owner/tiny", files, kind="models") as address:
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield


def test_a_repository_of_the_hub_is_the_checkpoint_that_it_holds(
    hub: None, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    downloaded = opened("owner/tiny").checkpoint
    assert downloaded == opened(whole).checkpoint
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert opened("owner/tiny").checkpoint == downloaded


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("owner/some-gated", "the repository is gated: accept its conditions on the Hub"),
        ("owner/other", "the Hub has no such repository, or it is private; a folder is written as"),
    ],
)
def test_a_repository_that_the_hub_does_not_give_is_refused(
    source: str, sentence: str, hub: None
) -> None:
    with pytest.raises(CheckpointError) as refusal:
        opened(source)
    assert sentence in str(refusal.value)


def test_without_the_hub_what_was_not_downloaded_is_refused(
    hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the Hub cannot be reached, and the repository was"):
        opened("owner/tiny")
