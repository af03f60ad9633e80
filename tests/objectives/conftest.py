"""A tiny untrained model of each family, with outliers in its activations, and inputs for it."""

from __future__ import annotations

import importlib
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.completion import completed
from objectives.measurement.latency import torch_threads
from spaces.file.search_file import SearchFile
from spaces.loading import validate
from tests.checkpoints import save_kind
from tests.own_package import own_document, write_package

VOCABULARY, WIDTH, DEPTH, HEADS = 120, 48, 2, 2
STEPS, WORDS, SOURCE, TARGET, IMAGE = 3, 8, 12, 9, 32

SHAPE = {"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


def roberta(config: Any, depth: int, **options: Any) -> Any:
    return config(
        **SHAPE, hidden_size=WIDTH, num_hidden_layers=depth, num_attention_heads=HEADS,
        intermediate_size=3 * WIDTH, max_position_embeddings=40, type_vocab_size=1, **options,
    )  # fmt: skip


def classifier(depth: int = DEPTH) -> Any:
    from transformers import ModernBertConfig, ModernBertForSequenceClassification

    return ModernBertForSequenceClassification(
        ModernBertConfig(
            **SHAPE, hidden_size=WIDTH, num_hidden_layers=depth, num_attention_heads=HEADS,
            intermediate_size=100, max_position_embeddings=40, classifier_pooling="mean",
            num_labels=3,
        )
    )  # fmt: skip


def masked_lm(depth: int = DEPTH) -> Any:
    from transformers import RobertaConfig, RobertaForMaskedLM

    return RobertaForMaskedLM(roberta(RobertaConfig, depth, tie_word_embeddings=True))


def llama(depth: int = DEPTH) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            **SHAPE, hidden_size=WIDTH, num_hidden_layers=depth, num_attention_heads=HEADS,
            intermediate_size=100, max_position_embeddings=40, tie_word_embeddings=True,
        )
    )  # fmt: skip


def mbart(depth: int = DEPTH) -> Any:
    from transformers import MBartConfig, MBartForConditionalGeneration

    return MBartForConditionalGeneration(
        MBartConfig(
            **SHAPE, d_model=WIDTH, encoder_layers=1, decoder_layers=depth,
            encoder_attention_heads=HEADS, decoder_attention_heads=HEADS, encoder_ffn_dim=100,
            decoder_ffn_dim=100, max_position_embeddings=40, decoder_start_token_id=2,
            forced_eos_token_id=None,
        )
    )  # fmt: skip


def vit(depth: int = DEPTH) -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(
        ViTConfig(
            hidden_size=WIDTH, num_hidden_layers=depth, num_attention_heads=HEADS,
            intermediate_size=100, image_size=IMAGE, patch_size=8, num_labels=3,
        )
    )  # fmt: skip


FAMILIES: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (classifier, masked_lm, llama, mbart, vit)
}


@pytest.fixture(scope="session")
def bert_folder(corpus: Path, translations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny BERT checkpoint."""
    return save_kind(tmp_path_factory.mktemp("checkpoint"), "bert", corpus, translations)


@pytest.fixture(scope="session")
def random_labels(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training examples with random labels, which a model can only learn by heart."""
    rng = random.Random(0)
    texts = [line.split("\t")[0] for line in (corpus / "train.tsv").read_text().splitlines()]
    file = tmp_path_factory.mktemp("random") / "train.tsv"
    file.write_text("".join(f"{text}\t{rng.choice(['animal', 'tool'])}\n" for text in texts))
    return file


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread: with two, tiny matrices take a hundred times longer on a busy machine."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="session", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def small_model(family: str) -> nn.Module:
    """Shared by tests, which do not change it."""
    return with_outliers(family, DEPTH)


def with_outliers(family: str, depth: int) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = FAMILIES[family](depth).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Trained models have a few channels that are much larger than the others.
            if parameter.ndim == 1 and name.endswith("weight"):
                parameter[5] = 10.0
    return model


@pytest.fixture(scope="session")
def small_batches(family: str) -> list[dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    return [batch_for(family) for _ in range(STEPS)]


def batch_for(family: str) -> dict[str, torch.Tensor]:
    tokens = torch.randint(5, VOCABULARY, (WORDS, SOURCE))
    mask = torch.ones_like(tokens)
    mask[::2, SOURCE // 2 :] = 0
    tokens = torch.where(mask == 1, tokens, SHAPE["pad_token_id"])
    if family == "vit":
        return {"pixel_values": torch.randn(WORDS, 3, IMAGE, IMAGE), "labels": tokens[:, 0] % 3}
    if family == "llama":
        return {"input_ids": tokens, "targets": tokens}
    batch = {"input_ids": tokens, "attention_mask": mask, "targets": tokens}
    if family == "mbart":
        batch["decoder_input_ids"] = torch.randint(5, VOCABULARY, (WORDS, TARGET))
    return batch


OpenOwn = Callable[..., SearchFile]
"""Writes a package with changes of its text, and opens a search of its task with some fields."""
_numbers = itertools.count()


@pytest.fixture
def open_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpenOwn:
    """Write a package with changes, and open a search of its task with some fields."""
    monkeypatch.syspath_prepend(tmp_path)

    def opened(*changes: tuple[str, str], name: str = "", **task: Any) -> SearchFile:
        package = name or f"own{next(_numbers)}"
        write_package(tmp_path, package, *changes)
        importlib.invalidate_caches()
        search, _ = completed(validate(own_document(package, **task)), tmp_path / "data")
        return search

    return opened
