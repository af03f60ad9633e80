"""Translators that start from an encoder-decoder: what is kept of both, and how it is trained."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.data.batches import logits
from objectives.data.encoding import PAD, load_tokenizer
from objectives.export.examples import example_program
from objectives.export.predictor.loading import load
from objectives.measurement.flops import count_forward_flops
from objectives.models.build import build
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.decoding import translate
from objectives.objective import Objective
from objectives.tasks import prepare_for
from objectives.tasks.base import Task
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.loading import SearchFileError
from tests.checkpoint_searches import (
    KILLED_AT,
    bypass,
    checkpoint_of,
    configuration_of,
    export,
    original,
    same,
    search_of,
    start_of,
    task_of,
    train_until_killed,
    with_old_numbers,
)
from tests.checkpoints import (
    DECODER_DEPTH,
    DEPTH,
    NEURONS,
    TRANSLATORS,
    WIDTH,
    languages_tokenizer,
    save_translator,
)
from tests.training_paths import Interruption, interrupted, trainer

SMALL_VOCABULARY = {"bart": 300, "mbart": 300}
LENGTH = 16
BEAMS = 2


@pytest.fixture(scope="module", params=TRANSLATORS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sentences(translations: Path) -> list[str]:
    """Training sentences of both languages."""
    files = [translations / f"train.{side}.gz" for side in ("source", "target")]
    return [
        line for file in files for line in gzip.decompress(file.read_bytes()).decode().split("\n")
    ]


def search_from(
    folder: Path, document: dict[str, Any], store: Path, vocabulary: int, **space: Any
) -> SearchFile:
    task = {"name": "translation", "beams": BEAMS}
    data = {"parallel": document["data"]["parallel"], "sequence_length": LENGTH}
    sizes = {
        "depth": {"low": 1, "high": DEPTH},
        "width": WIDTH,
        "vocabulary": vocabulary,
        "budget": {"choices": [20.0, 40.0]},
    }
    return search_of(folder, store, task, data, {**sizes, **space})


@pytest.fixture(scope="module")
def search(
    kind: str,
    sentences: list[str],
    task_documents: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> SearchFile:
    folder = save_translator(tmp_path_factory.mktemp(kind), kind, sentences)
    store = tmp_path_factory.mktemp("store")
    return search_from(folder, task_documents["translation"], store, SMALL_VOCABULARY[kind])


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def folder_of(search: SearchFile) -> Path:
    assert search.model is not None
    return Path(search.model.source)


def tokenizer_of(search: SearchFile) -> Any:
    """The tokenizer of the checkpoint, as transformers loads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder_of(search))


def loaded(task: Task) -> Any:
    """The whole checkpoint as transformers loads it."""
    assert task.start is not None
    return task.start.opened.load()


def same_logits(start: nn.Module, whole: nn.Module, task: Task) -> bool:
    """Whether a model has the logits of a checkpoint, where neither reads padding."""
    batch, old = task.batch(0), original(task)
    with torch.inference_mode():
        expected = logits(whole, with_old_numbers(batch, task))[..., old]
        found = logits(start, batch)
    counts = (batch["targets"] != PAD)[..., None] & (old >= 0)
    return torch.allclose(found * counts, expected * counts, atol=1e-4)


def test_translations_are_encoded_as_the_tokenizer_of_the_checkpoint_does(
    search: SearchFile, data_root: Path
) -> None:
    task, tokenizer = task_of(search, data_root), tokenizer_of(search)
    pairs, texts = task.data.sentence_pairs("test"), task.data.references("test")
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
    start, whole = start_of(task, whole_of(search)), loaded(task)
    assert same_logits(start, whole, task)
    batch = task.batch(1)
    with torch.inference_mode():
        expected = whole.generate(
            input_ids=original(task)[batch["input_ids"]],
            attention_mask=batch["attention_mask"],
            max_new_tokens=LENGTH - 1,
            num_beams=BEAMS,
        )
        found = translate(
            start,
            batch,
            load_tokenizer(task.data.tokenizer_file),
            start=task.data.target_start,
            beams=BEAMS,
            sequence_length=LENGTH,
        )
    texts = tokenizer.batch_decode(expected, skip_special_tokens=True)
    assert [text.strip() for text in found] == [text.strip() for text in texts]
    assert len({*found}) > 1


def whole_of(search: SearchFile, vocabulary: int = 0) -> Architecture:
    return checkpoint_of(search).architecture(DEPTH, WIDTH, vocabulary=vocabulary)


def test_fewer_pieces_have_the_rows_of_the_checkpoint(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    vocabulary = SMALL_VOCABULARY[kind]
    task = task_of(search, data_root, vocabulary)
    assert len(original(task)) == vocabulary
    assert same_logits(start_of(task, whole_of(search, vocabulary)), loaded(task), task)


def test_layers_are_left_out_of_the_encoder_and_of_the_decoder(
    search: SearchFile, data_root: Path
) -> None:
    task = task_of(search, data_root)
    checkpoint = checkpoint_of(search)
    start = start_of(task, checkpoint.architecture(2, WIDTH, decoder_depth=1))
    whole = loaded(task)
    left_out = (range(1, DEPTH - 1), range(1, checkpoint.decoder_depth))
    for stack, indices in zip(checkpoint.layout.stacks, left_out, strict=True):
        bypass(whole, stack, indices)
    assert same_logits(start, whole, task)


def test_the_parts_with_the_smallest_outputs_are_removed_from_all_attentions(
    search: SearchFile, data_root: Path
) -> None:
    """Of a model whose other heads and neurons give nothing, half of them is the same model."""
    task = task_of(search, data_root)
    assert task.start is not None
    whole = loaded(task)
    with torch.no_grad():
        for stack in checkpoint_of(search).layout.stacks:
            blocks = [
                *((block, WIDTH) for block in stack.attentions),
                (stack.feed_forward, NEURONS),
            ]
            for name, (block, count) in (
                (f"{stack.prefix}.{index}", each) for index in range(stack.depth) for each in blocks
            ):
                dead = torch.arange(count) < count // 2
                whole.get_submodule(f"{name}.{block.output}").weight[:, dead] = 0.0
                # Nor is there anything to read.
                layer = whole.get_submodule(f"{name}.{block.inputs[-1]}")
                layer.weight[dead] = layer.bias[dead] = 0.0
    task.start.opened.__dict__["load"] = lambda classes: whole
    narrow = start_of(task, checkpoint_of(search).architecture(DEPTH, WIDTH // 2))
    assert same_logits(narrow, whole, task)


@pytest.mark.parametrize(("depth", "decoder_depth", "width"), [(4, 3, WIDTH), (2, 1, 16)])
def test_sizes_and_flops_are_those_of_the_real_model(
    depth: int, decoder_depth: int, width: int, kind: str, search: SearchFile, data_root: Path
) -> None:
    vocabulary = SMALL_VOCABULARY[kind]
    architecture = checkpoint_of(search).architecture(
        depth, width, decoder_depth=decoder_depth, vocabulary=vocabulary
    )
    model = build(architecture.shape, search.workload).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters(architecture, search.workload)
    batch = task_of(search, data_root, vocabulary).latency_input(1)
    assert count_forward_flops(model, batch) == forward_flops(architecture.shape, search.workload)


def test_the_decoder_is_as_deep_as_the_encoder_where_the_checkpoint_is(
    kind: str, search: SearchFile, task_documents: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = checkpoint_of(search)
    deepest = DECODER_DEPTH if kind == "mbart" else DEPTH
    depths = [checkpoint.architecture(depth, WIDTH).decoder_depth for depth in (1, DEPTH)]
    assert depths == [1, deepest]
    with pytest.raises(SearchFileError, match=r"space\.decoder_depth: 5 layers of the decoder are"):
        search_from(
            folder_of(search), task_documents["translation"], tmp_path, 300, decoder_depth=5
        )


@pytest.fixture(scope="module")
def exported(
    kind: str, search: SearchFile, data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, float]:
    """The folder of a model that was cut down, trained and compressed, and its score."""
    vocabulary = SMALL_VOCABULARY[kind]
    folder = tmp_path_factory.mktemp("exported") / kind
    folder.mkdir()
    data = prepare_for(search, data_root)
    objective = Objective(search, data)
    architecture = checkpoint_of(search).architecture(2, 16, decoder_depth=1, vocabulary=vocabulary)
    compression = Compression(Quantisation.RTN_8, 32, Pruning.STRUCTURED, 0.5)
    found = objective.evaluate(Configuration(architecture, 20.0, compression))
    assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
    assert objective.test(found.model).examples == 32
    trimmed = prepare_for(search, data_root, vocabulary)
    task, _ = export(search, trimmed, objective, found, folder, with_onnx=True)
    program = example_program(task).replace("a sentence", "the red cat sees")
    (folder / "program.py").write_text(program)
    return folder, found.score


@pytest.mark.parametrize("kind", ["mbart"], indirect=True)
@pytest.mark.parametrize("runtime", ["transformers", "onnxruntime"])
def test_an_exported_model_translates_without_tlc(
    runtime: str, exported: tuple[Path, float], tmp_path: Path
) -> None:
    folder, score = exported
    inputs = ["the red cat sees", "", "old small dog " * 30]
    case = {"inputs": inputs, "program": (folder / "program.py").read_text()}
    (tmp_path / "cases.json").write_text(json.dumps({str(folder): case}))
    outside = Path(__file__).parent / "outside.py"
    hidden = "objectives,spaces,search,ray,mlflow"
    run = subprocess.run(
        [sys.executable, str(outside), hidden, runtime, str(tmp_path / "cases.json")],
        check=True, capture_output=True, text=True, cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    answer = json.loads(run.stdout)[str(folder)]
    assert answer["score"] == pytest.approx(score, abs=1e-6)
    expected = load(folder, "transformers").predict(inputs)
    assert answer["predictions"] == [[each.text, each.probability] for each in expected]
    if runtime == "transformers":
        assert answer["printed"].strip() == str([expected[0].text])


SMALL = {"depth": 2, "width": 16, "decoder_depth": 1}


def small(search: SearchFile, budget: float = 20.0, **sizes: int) -> Configuration:
    return configuration_of(search, {**SMALL, **sizes}, budget)


def test_a_resumed_training_gives_the_same_weights_bit_for_bit(
    search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    path = task_of(search, data_root).path(small(search)).chain[-1]
    whole, _ = trainer(tmp_path / "whole").train(path)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=7))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_trained == path.length - 7


def test_budgets_share_their_training_and_other_depths_do_not(
    search: SearchFile, data_root: Path
) -> None:
    task = task_of(search, data_root)

    def stable(**changed: Any) -> str:
        return task.path(small(search, **changed)).chain[-1].key

    assert stable() == stable(budget=40.0)
    others = [stable(depth=3), stable(decoder_depth=2), stable(width=32)]
    assert len({stable(), *others}) == 4


@pytest.mark.parametrize("kind", ["mbart"], indirect=True)
def test_a_killed_process_loses_no_finished_step(
    search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    train_until_killed(search, SMALL, data_root, tmp_path / "cut")

    path = task_of(search, data_root).path(small(search))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    whole, _ = trainer(tmp_path / "whole").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_reused == KILLED_AT


def edit(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


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


@pytest.mark.parametrize("kind", ["mbart"], indirect=True)
@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_tokenizer, "it has no tokenizer"),
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
    task_documents: dict[str, Any],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(folder_of(search), tmp_path / "checkpoint"))
    damage(folder)
    with pytest.raises(CheckpointError, match=sentence):
        search_from(folder, task_documents["translation"], tmp_path / "store", 300)
