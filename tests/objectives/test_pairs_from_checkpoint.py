"""Pairs of texts with the special tokens and the types of tokens of a checkpoint's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertTokenizer, RobertaTokenizer

from objectives.data.encoding import END
from objectives.data.prepared_data import PreparedData
from objectives.data.sources.text import TextRows, read_labelled
from objectives.objective import Objective
from objectives.predictor import load
from objectives.tasks import make_task, prepare_for
from spaces.cost.compression import Compression, Quantisation
from spaces.cost.configuration import Configuration
from spaces.file.search_file import SearchFile
from tests.checkpoint_searches import checkpoint_of, export, search_from
from tests.checkpoints import WIDTH, save_checkpoint, tokenizer_for

LENGTH = 16
"""Shorter than many pairs, which are cut."""


def bert_tokenizer(texts: list[str]) -> Any:
    return BertTokenizer(vocab=tokenizer_for("WordPiece", texts).get_vocab())


def roberta_tokenizer(texts: list[str]) -> Any:
    model = json.loads(tokenizer_for("BPE", texts, 420).backend_tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    named = {"cls_token": "[CLS]", "bos_token": "[CLS]", "sep_token": "[SEP]", "eos_token": "[SEP]"}
    others = {"unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    return RobertaTokenizer(vocab=model["vocab"], merges=merges, **named, **others)


TOKENIZERS: dict[str, Callable[[list[str]], Any]] = {
    "bert": bert_tokenizer,
    "roberta": roberta_tokenizer,
}


class Pairs(NamedTuple):
    """A search of pairs of texts from a checkpoint, and its data."""

    search: SearchFile
    folder: Path
    data: PreparedData
    rows: dict[str, TextRows]


def pairs_from(
    folder: Path, kind: str, document: dict[str, Any], vocabulary: int = 0, tokenizer: str = ""
) -> Pairs:
    source = Path(document["data"]["labelled"]["train"])
    texts = [text for line in source.read_text().splitlines() for text in line.split("\t")[:2]]
    save_checkpoint(folder, kind, texts)
    TOKENIZERS[tokenizer or kind](texts).save_pretrained(folder)
    search = search_from(folder, folder / "store", document)
    data = prepare_for(search, folder.parent / "data", vocabulary)
    assert search.data.labelled is not None
    rows = read_labelled(search.data.labelled, "", folder.parent / "cache")
    return Pairs(search, folder, data, rows)


@pytest.fixture(scope="module", params=["bert", pytest.param("roberta", marks=pytest.mark.slow)])
def pairs(
    request: pytest.FixtureRequest,
    task_documents: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Pairs:
    folder = tmp_path_factory.mktemp("pairs") / request.param
    return pairs_from(folder, request.param, task_documents["pairs"])


def own_encoding(pairs: Pairs, split: str, folder: Path) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = pairs.rows[split]
    return tokenizer(
        list(rows.texts), list(rows.pairs), truncation="longest_first", max_length=LENGTH,
        padding="max_length", return_tensors="np",
    )  # fmt: skip


def test_pairs_are_encoded_as_the_tokenizer_of_the_checkpoint_does(pairs: Pairs) -> None:
    for split in ("train", "validation", "test"):
        own, texts = own_encoding(pairs, split, pairs.folder), pairs.data.labelled_texts(split)
        original = pairs.data.original_tokens[texts.tokens]
        is_text = own["attention_mask"] == 1
        assert np.array_equal(original[is_text], own["input_ids"][is_text])
        assert np.array_equal(texts.lengths, own["attention_mask"].sum(1))
        if pairs.folder.name == "bert":
            assert texts.types is not None
            assert np.array_equal(texts.types, own["token_type_ids"])
        else:
            assert texts.types is None
    # Some are cut, and others are not.
    assert 0.0 < pairs.data.lengths["labelled texts"].cut < 1.0


def test_models_are_trained_with_the_types_of_tokens(pairs: Pairs) -> None:
    task = make_task(pairs.search, pairs.data)
    batch = task.batch(0)
    assert ("token_type_ids" in batch) == (pairs.folder.name == "bert")
    if "token_type_ids" in batch:
        assert batch["token_type_ids"].shape == batch["input_ids"].shape
        assert set(batch["token_type_ids"].unique().tolist()) == {0, 1}


def test_an_exported_model_reads_pairs_as_in_training(pairs: Pairs, tmp_path: Path) -> None:
    search, data = pairs.search, pairs.data
    objective = Objective(search, data)
    architecture = checkpoint_of(search).architecture(1, WIDTH)
    compression = Compression(Quantisation.RTN_8)
    result = objective.evaluate(Configuration(architecture, 40.0, compression))
    # That of a model without types of tokens is like any other.
    runtimes = ("transformers", "onnxruntime")[: 1 + data.has_token_types]
    _, model = export(
        search, data, objective, result, tmp_path, with_onnx="onnxruntime" in runtimes
    )
    examples = list(map(json.loads, (tmp_path / "evaluation.jsonl").read_text().splitlines()))
    # Batches are of other lengths than those of a score, which are sorted.
    inputs = [(each["text"], each["text_pair"]) for each in examples[:5]]
    own = own_encoding(pairs, "validation", tmp_path)
    own = {name: torch.from_numpy(array[:5]) for name, array in own.items()}
    with torch.inference_mode():
        expected = model(**own).logits.softmax(-1).amax(-1)
    for runtime in runtimes:
        predictor = load(tmp_path, runtime)
        assert predictor.score(examples) == result.score
        found = [each.probability for each in predictor.predict(inputs)]
        assert found == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_trimmed_vocabulary_keeps_the_special_tokens_of_pairs(
    task_documents: dict[str, Any], tmp_path: Path
) -> None:
    pairs = pairs_from(tmp_path / "bert", "bert", task_documents["pairs"], vocabulary=150)
    texts = pairs.data.labelled_texts("train")
    assert texts.types is not None
    # [CLS] A [SEP] B [SEP]
    assert ((texts.tokens == END).sum(1) == 2).all()
    assert (texts.types[np.arange(len(texts.tokens)), texts.lengths - 1] == 1).all()


def test_types_of_tokens_that_the_model_lacks_are_left_out(
    task_documents: dict[str, Any], tmp_path: Path
) -> None:
    pairs = pairs_from(tmp_path / "mixed", "roberta", task_documents["pairs"], tokenizer="bert")
    texts = pairs.data.labelled_texts("train")
    assert texts.types is None
    assert ((texts.tokens == END).sum(1) == 2).all()
