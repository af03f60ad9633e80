"""Dimensions of the model beside depth and width: what they stand for, and what they cost."""

from __future__ import annotations

from collections.abc import Callable

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression
from spaces.cost.configuration import Configuration
from spaces.cost.families import layout, parameters, training_key
from spaces.cost.flops import forward_flops
from spaces.file.search_file import SearchFile
from spaces.grid.search_space import SearchSpace


def test_a_width_has_as_many_heads_as_it_has_times_their_channels(
    make_search: Callable[..., SearchFile],
) -> None:
    space = SearchSpace(make_search(space__head_width={"choices": [8, 16, 32]}))
    found = {space.configuration(point).architecture for point in space.points()}
    assert {(a.width, a.heads, a.head_width) for a in found} == {
        (32, 4, 8), (32, 2, 16), (32, 1, 32), (64, 8, 8), (64, 4, 16), (64, 2, 32),
    }  # fmt: skip
    assert {*space.architectures()} == found
    usual = SearchSpace(make_search()).architectures()
    assert {a for a in found if a.head_width == 32} == {*usual}


def test_a_ratio_gives_each_width_its_neurons(make_search: Callable[..., SearchFile]) -> None:
    ratios = {"choices": [1.0, 2.5, 4.0]}
    space = SearchSpace(make_search(space__depth=1, space__feed_forward_ratio=ratios))
    found = {space.configuration(point).architecture for point in space.points()}
    assert {(a.width, a.feed_forward) for a in found} == {
        (32, 32), (32, 80), (32, 128), (64, 64), (64, 160), (64, 256),
    }  # fmt: skip
    assert {a.feed_forward_ratio for a in found} == {1.0, 2.5, 4.0}
    assert {*space.architectures()} == found
    assert str(space.largest_architecture) == "1x64"
    sizes = [space.cost(space.configuration(point)).size_mb for point in space.points()]
    least, greatest = space.extreme_costs()
    assert (least.size_mb, greatest.size_mb) == (min(sizes), max(sizes))


def test_activations_are_different_models_of_equal_cost(
    make_search: Callable[..., SearchFile],
) -> None:
    search = make_search(space__depth=1, space__activation={"choices": ["gelu", "relu"]})
    space = SearchSpace(search)
    usual, rectified = (a for a in space.architectures() if a.width == 32)
    workload = space.workload_of("")
    assert layout(usual.shape, workload) == layout(rectified.shape, workload)
    configuration = Configuration(rectified, 20.0, Compression())
    assert configuration.hash != Configuration(usual, 20.0, Compression()).hash
    assert Configuration.from_dict(configuration.to_dict()) == configuration
    # GELU is the family's own.
    without = SearchSpace(make_search(space__depth=1)).architectures()[0]
    keys = [training_key(each, workload) for each in (without, usual, rectified)]
    assert keys[0] == keys[1] != keys[2]


def test_untied_embeddings_are_a_matrix_more(
    make_task_search: Callable[..., SearchFile],
) -> None:
    for task in ("causal-lm", "masked-lm"):
        search = make_task_search(
            task, space__depth=1, space__width=32, space__tied_embeddings={"choices": [True, False]}
        )
        space = SearchSpace(search)
        tied, untied = space.architectures()
        workload = space.workload_of("")
        matrix = search.data.vocabulary_size * 32
        assert parameters(untied, workload) == parameters(tied, workload) + matrix
        assert forward_flops(untied.shape, workload) == forward_flops(tied.shape, workload)
        assert training_key(tied, workload) == Architecture.of(1, 32).to_dict()
        assert training_key(untied, workload) != training_key(tied, workload)
        assert str(untied) == "1x32 untied embeddings"


def test_texts_name_what_is_not_as_usual(make_search: Callable[..., SearchFile]) -> None:
    space = SearchSpace(make_search(space__depth=1, space__head_width={"choices": [16, 32]}))
    texts = [str(architecture) for architecture in space.architectures()]
    assert texts == ["1x32 head_width 16", "1x32", "1x64 head_width 16", "1x64"]


def test_tasks_without_fine_tuning_have_a_dropout_that_can_be_searched(
    make_task_search: Callable[..., SearchFile],
) -> None:
    usual = {"causal-lm": 0.0, "translation": 0.1, "image-classification": 0.1}
    for task, dropout in usual.items():
        assert make_task_search(task).training.dropout == dropout
    search = make_task_search(
        "image-classification", space__training={"dropout": {"choices": [0.0, 0.2]}}
    )
    space = SearchSpace(search)
    assert {space.configuration(point).training for point in space.points()} == {
        (("dropout", 0.0),), (("dropout", 0.2),),
    }  # fmt: skip
