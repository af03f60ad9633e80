"""Properties of configurations, compressions, grids and plans."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.cost.architecture import Architecture
from spaces.cost.compression import Compression, Pruning, Quantisation
from spaces.cost.configuration import Configuration, content_hash
from spaces.grid import plan as plan_module
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace

configurations = st.builds(
    Configuration,
    architecture=st.builds(
        lambda depth, width, decoder: Architecture.of(depth, 32 * width, decoder_depth=decoder),
        st.integers(1, 20),
        st.integers(1, 20),
        st.integers(0, 2),
    ),
    budget=st.floats(1, 1e15),
    compression=st.builds(
        Compression,
        quantisation=st.sampled_from(Quantisation),
        group_size=st.sampled_from([16, 32, 64]),
        pruning=st.sampled_from(Pruning),
        sparsity=st.sampled_from([0.0, 0.1, 0.5]),
        recovery=st.sampled_from([0.0, 20.0]),
    ),
    seed=st.integers(0, 5),
)


@given(configurations)
def test_a_configuration_survives_json_and_keeps_its_hash(configuration: Configuration) -> None:
    again = Configuration.from_dict(json.loads(json.dumps(configuration.to_dict())))
    assert again == configuration
    assert again.hash == configuration.hash


@given(configurations, configurations)
def test_equal_hash_means_equal_model(a: Configuration, b: Configuration) -> None:
    assert (a.hash == b.hash) == (a.canonical() == b.canonical())


@given(configurations)
def test_the_canonical_configuration_gives_the_same_model(configuration: Configuration) -> None:
    canonical = configuration.canonical()
    architecture, given_ = configuration.architecture, configuration.compression
    kept = canonical.compression
    assert canonical.canonical() == canonical
    assert kept.shape_of(architecture) == given_.shape_of(architecture)
    assert (kept.quantisation.bits, kept.unstructured_sparsity) == (
        given_.quantisation.bits, given_.unstructured_sparsity,
    )  # fmt: skip
    # Weights that were trained rounded are stored as the nearest codes.
    is_trained_rounded = given_.quantisation.method == "gptq" and given_.recovery > 0
    assert kept.quantisation.method == "rtn" if is_trained_rounded else (
        kept.quantisation is given_.quantisation
    )  # fmt: skip
    assert (kept.structured_sparsity > 0) == (kept.shape_of(architecture) != architecture.shape)


def test_fields_without_effect_do_not_change_the_hash() -> None:
    base = Configuration(Architecture.of(1, 32), 10.0, Compression())
    for compression in (
        Compression(pruning=Pruning.LAYERS, sparsity=0.5),  # of one
        Compression(pruning=Pruning.HEADS, sparsity=0.5, recovery=20.0),  # of one
        Compression(Quantisation.RTN_4, pruning=Pruning.LAYERS, sparsity=0.25),
        Compression(pruning=Pruning.UNSTRUCTURED),
        Compression(group_size=64),
        Compression(recovery=20.0),  # from nothing
        Compression(Quantisation.BF16, group_size=64),
    ):
        plain = base.with_compression(Compression(compression.quantisation))
        assert base.with_compression(compression).hash == plain.hash
    base = Configuration(Architecture.of(1, 128), 10.0, Compression())
    for compression in (
        Compression(pruning=Pruning.UNSTRUCTURED, sparsity=0.5),
        Compression(Quantisation.RTN_4, recovery=20.0),
        Compression(pruning=Pruning.HEADS, sparsity=0.5, recovery=20.0),
    ):
        others = (replace(compression, recovery=0.0), replace(compression, sparsity=0.25))
        hashes = {base.with_compression(c).hash for c in (compression, *others)}
        assert base.hash not in hashes
        assert len(hashes) == 2 + (compression.recovery > 0)


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_the_hash_does_not_depend_on_key_order(values: dict[str, Any]) -> None:
    assert content_hash(values) == content_hash(dict(reversed(values.items())))


@given(
    st.sampled_from([pruning for pruning in Pruning if not pruning.is_masking]),
    st.floats(0, 0.99),
    st.integers(1, 16),
    st.integers(1, 12),
)
def test_structured_pruning_removes_only_parts_of_its_kind_and_never_all(
    pruning: Pruning, sparsity: float, heads: int, depth: int
) -> None:
    architecture = Architecture.of(depth, 32 * heads, decoder_depth=depth % 3)
    shape = Compression(pruning=pruning, sparsity=sparsity).shape_of(architecture)
    touched = {
        Pruning.STRUCTURED: {"heads", "feed_forward"},
        Pruning.HEADS: {"heads"},
        Pruning.NEURONS: {"feed_forward"},
        Pruning.LAYERS: {"depth", "decoder_depth"},
    }[pruning]
    for name, whole in asdict(architecture.shape).items():
        left = getattr(shape, name)
        assert left == whole or (name in touched and 1 <= left < whole)


@pytest.mark.parametrize("pruning", [Pruning.UNSTRUCTURED, Pruning.SEMI_STRUCTURED])
def test_masking_weights_keeps_the_shape(pruning: Pruning) -> None:
    architecture = Architecture.of(3, 96)
    assert Compression(pruning=pruning, sparsity=0.5).shape_of(architecture) == architecture.shape


@pytest.mark.parametrize("name", ["sparsity", "recovery", "group_size"])
def test_a_compression_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name.replace("_", " ")):
        Compression(**{name: -1})


def test_a_plan_counts_feasible_configurations(make_search: Any) -> None:
    everything = make_plan(SearchSpace(make_search()), 5)
    assert everything.configurations == everything.feasible == 2 * 2 * 2 * 4 * 2
    limit = everything.examples[1].size_mb
    space = SearchSpace(make_search(constraints__max_size_mb=limit))
    plan = make_plan(space, 5)
    by_hand = [
        c for c in map(space.configuration, space.points()) if space.cost(c).size_mb <= limit
    ]
    assert plan.feasible == len(by_hand) < everything.feasible
    smallest, typical, largest = plan.examples
    assert smallest.size_mb <= typical.size_mb <= largest.size_mb <= limit


def test_a_plan_contains_fine_tuning_once_its_examples_are_counted(make_search: Any) -> None:
    space = SearchSpace(make_search(training__fine_tuning={"epochs": 3, "held_out": 0.25}))
    unknown, counted = make_plan(space, 5), make_plan(space, 5, labelled_examples=410)
    assert unknown.fine_tuning_steps is None
    # 308 of 410 examples are trained on: 20 steps of 16, three times.
    assert counted.fine_tuning_steps == 3 * 20
    assert counted.stops_early
    for before, after in zip(unknown.examples, counted.examples, strict=True):
        assert after.steps == before.steps + 60
        assert after.training_flops > before.training_flops
    whole = SearchSpace(make_search(training__fine_tuning={"epochs": 3, "held_out": 0}))
    assert not make_plan(whole, 5, labelled_examples=410).stops_early


def test_a_plan_has_examples_where_feasible_configurations_are_rare(
    make_search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "MAX_EXAMINED", 100)
    rare = {
        "space__depth": {"low": 1, "high": 100},
        "space__width": {"low": 32, "high": 3200, "step": 32},
    }
    cheapest, _ = SearchSpace(make_search(**rare)).extreme_costs()
    limit = 1.001 * cheapest.size_mb
    plan = make_plan(SearchSpace(make_search(**rare, constraints__max_size_mb=limit)), 5)
    assert plan.examined < plan.configurations
    assert plan.feasible == plan.trials == 1
    assert all(example.size_mb <= limit for example in plan.examples)


def test_a_compression_that_saves_nothing_is_infeasible(make_search: Any) -> None:
    space = SearchSpace(
        make_search(
            space__pruning={"choices": ["structured", "layers", "unstructured"]},
            space__sparsity={"choices": [0.0, 0.01, 0.5]},
        )
    )
    refused = {
        str(configuration.compression)
        for configuration in map(space.configuration, space.points())
        if not space.is_feasible(configuration)
    }
    # One weight in a hundred saves less than its mask costs. What removes nothing is a dense model.
    assert refused == {"none unstructured 1%"}


def test_extreme_costs_are_the_extremes_of_the_grid(make_search: Any) -> None:
    space = SearchSpace(make_search(space__pruning={"choices": ["structured", "unstructured"]}))
    costs = [space.cost(space.configuration(point)) for point in space.points()]
    cheapest, most_expensive = space.extreme_costs()
    assert cheapest.size_mb == min(cost.size_mb for cost in costs)
    assert most_expensive.size_mb == max(cost.size_mb for cost in costs)
    assert (cheapest.flops, most_expensive.flops) == (
        min(cost.flops for cost in costs),
        max(cost.flops for cost in costs),
    )
