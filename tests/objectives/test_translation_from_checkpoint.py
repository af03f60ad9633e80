"""Translators that start from an encoder-decoder: their tokens, their answers, and refusals."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from objectives.data.encoding import PAD, load_tokenizer
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.decoding import write_texts
from objectives.objective import Objective
from objectives.predictor import load
from objectives.tasks import prepare_for
from objectives.tasks.base import Task
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError
from tests.checkpoint_searches import (
    checkpoint_of,
    export,
    loaded,
    original,
    search_from,
    start_of,
    task_of,
)
from tests.checkpoints import (
    DECODER_DEPTH,
    DEPTH,
    NEURONS,
    WIDTH,
    languages_tokenizer,
    save_translator,
    sentences_of,
)

LENGTH = 16
BEAMS = 2
VOCABULARY = 300


@pytest.fixture(scope="module")
def translation(task_documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {**task_documents["translation"], "task": {"name": "translation", "beams": BEAMS}}


@pytest.fixture(scope="module", params=["bart", pytest.param("mbart", marks=pytest.mark.slow)])
def search(
    request: pytest.FixtureRequest,
    translation: dict[str, Any],
    translations: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> SearchFile:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_translator(folder, request.param, sentences_of(translations))
    return search_from(folder, tmp_path_factory.mktemp("store"), translation, vocabulary=VOCABULARY)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def folder_of(search: SearchFile) -> Path:
    assert search.model is not None
    return Path(search.model.name)


def tokenizer_of(search: SearchFile) -> Any:
    """The tokenizer of the checkpoint, as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_of(search))


def translated(model: Any, batch: dict[str, torch.Tensor], task: Task) -> list[str]:
    return write_texts(
        model,
        batch,
        load_tokenizer(task.prepared.tokenizer_file),
        start=task.prepared.target_start,
        beams=BEAMS,
        length=LENGTH,
    )


def test_translations_are_encoded_as_the_tokenizer_of_the_checkpoint_does(
    search: SearchFile, data_root: Path
) -> None:
    task, tokenizer = task_of(search, data_root), tokenizer_of(search)
    pairs, texts = task.prepared.sentence_pairs("test"), task.prepared.references("test")
    old = original(task).numpy()
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    for row, length, text in zip(pairs.targets, pairs.target_lengths, texts, strict=True):
        cut = {"truncation": True, "max_length": LENGTH - 1}
        labels = tokenizer(text_target=text, **cut)["input_ids"]
        if labels[-1] != sep:  # Without special tokens, those of RoBERTa.
            labels = [cls, *labels, sep]
        # The decoder of both starts from the end token.
        assert old[row[:length]].tolist() == [sep, *labels]


def test_the_whole_checkpoint_translates_as_the_checkpoint(
    search: SearchFile, data_root: Path
) -> None:
    task, tokenizer = task_of(search, data_root), tokenizer_of(search)
    start = start_of(task, checkpoint_of(search).architecture(DEPTH, WIDTH))
    batch = task.batch(1)
    with torch.inference_mode():
        expected = loaded(task).generate(
            input_ids=original(task)[batch["input_ids"]],
            attention_mask=batch["attention_mask"],
            max_new_tokens=LENGTH - 1,
            num_beams=BEAMS,
        )
        found = translated(start, batch, task)
    texts = tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert [text.strip() for text in found] == [text.strip() for text in texts]
    assert len({*found}) > 1


def test_the_decoder_is_as_deep_as_the_encoder_where_the_checkpoint_is(
    search: SearchFile, translation: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(search)
    depths = [checkpoint.architecture(depth, WIDTH).decoder_depth for depth in (1, DEPTH)]
    assert depths == [1, min(DEPTH, checkpoint.decoder_depth)]
    assert checkpoint.decoder_depth in (DECODER_DEPTH, DEPTH)
    with pytest.raises(SearchFileError, match=r"space\.decoder_depth: 5 layers of the decoder are"):
        search_from(folder_of(search), tmp_path, translation, decoder_depth=5)


@pytest.mark.slow
@pytest.mark.parametrize("search", ["mbart"], indirect=True)
def test_an_exported_model_translates_as_it_was_scored(
    search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    objective = Objective(search, prepare_for(search, data_root))
    architecture = checkpoint_of(search).architecture(
        1, WIDTH // 2, decoder_depth=1, vocabulary=VOCABULARY
    )
    compression = Compression(Quantisation.RTN_8, 32, Pruning.STRUCTURED, 0.5)
    found = objective.evaluate(Configuration(architecture, 20.0, compression))
    data = prepare_for(search, data_root, VOCABULARY)
    _, model = export(search, data, objective, found, tmp_path, with_onnx=True)
    examples = list(map(json.loads, (tmp_path / "evaluation.jsonl").read_text().splitlines()))
    tokens = torch.from_numpy(data.sentence_pairs("validation").sources[:8].astype("int64"))
    batch = {"input_ids": tokens, "attention_mask": (tokens != PAD).long()}
    expected = translated(model, batch, task_of(search, data_root, VOCABULARY))
    texts = [each["text"] for each in examples[:8]]
    assert len({*expected}) > 1
    for runtime in ("transformers", "onnxruntime"):
        predictor = load(tmp_path, runtime)
        assert predictor.score(examples) == pytest.approx(found.score, abs=1e-6)
        assert [each.text for each in predictor.predict(texts)] == expected


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def with_a_head_for_another_task(folder: Path) -> None:
    edit(folder / "config.json", architectures=["MBartForSequenceClassification"])


def without_decoder(folder: Path) -> None:
    edit(folder / "config.json", model_type="bert", architectures=["BertModel"])


def without_decoder_start(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        edit(folder / name, decoder_start_token_id=None)


def without_target_language(folder: Path) -> None:
    tokenizer = languages_tokenizer(["the red cat sees"], src_lang="en_XX")
    tokenizer.save_pretrained(folder)


def with_other_neurons_in_the_decoder(folder: Path) -> None:
    edit(folder / "config.json", decoder_ffn_dim=2 * NEURONS)


def of_relative_positions(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=1000, d_model=WIDTH, d_kv=8, num_heads=4, num_layers=2, d_ff=NEURONS,
        decoder_start_token_id=1, pad_token_id=1, eos_token_id=2,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)


def with_a_bias_of_logits(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["final_logits_bias"] = torch.ones(1, len(tensors["model.shared.weight"]))
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.slow
@pytest.mark.parametrize("search", ["mbart"], indirect=True)
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (with_a_head_for_another_task, "with the head of another task; task translation starts"),
        (without_decoder, "no AutoModelForSeq2SeqLM of type 'bert', which task translation needs"),
        (without_decoder_start, "its decoder_start_token_id is None, which is no token"),
        (without_target_language, "write tgt_lang into its tokenizer_config.json"),
        (with_other_neurons_in_the_decoder, "has other heads or neurons in its decoder"),
        (of_relative_positions, "biases of relative positions all layers share"),
        (with_a_bias_of_logits, "its final_logits_bias is not zero"),
    ],
)
def test_an_unsuited_checkpoint_is_refused(
    damage: Callable[[Path], None],
    sentence: str,
    search: SearchFile,
    translation: dict[str, Any],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(folder_of(search), tmp_path / "checkpoint"))
    damage(folder)
    with pytest.raises(CheckpointError, match=sentence):
        search_from(folder, tmp_path / "store", translation)
