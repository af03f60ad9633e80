"""Properties of the values of a search: hashes, grids, plans."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spaces.architecture import Architecture
from spaces.compression import Compression, Pruning, Quantisation
from spaces.configuration import Configuration, content_hash
from spaces.plan import make_plan
from spaces.search_space import SearchSpace

configurations = st.builds(
    Configuration,
    architecture=st.builds(
        lambda depth, width: Architecture.of(depth, 32 * width),
        st.integers(1, 20),
        st.integers(1, 20),
    ),
    budget=st.floats(1, 1e15),
    compression=st.builds(
        Compression,
        quantisation=st.sampled_from(Quantisation),
        group_size=st.sampled_from([16, 32, 64]),
        pruning=st.sampled_from(Pruning),
        sparsity=st.sampled_from([0.0, 0.1, 0.5]),
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


def test_what_has_no_effect_does_not_change_the_hash() -> None:
    base = Configuration(Architecture.of(1, 32), 10.0, Compression())
    for compression in (
        Compression(pruning=Pruning.UNSTRUCTURED),
        Compression(group_size=64),
    ):
        assert Configuration(Architecture.of(1, 32), 10.0, compression).hash == base.hash
    pruned = Compression(pruning=Pruning.UNSTRUCTURED, sparsity=0.5)
    assert Configuration(Architecture.of(1, 32), 10.0, pruned).hash != base.hash


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False)))
def test_the_hash_does_not_depend_on_key_order(values: dict[str, Any]) -> None:
    assert content_hash(values) == content_hash(dict(reversed(values.items())))


@given(st.floats(0, 0.99), st.integers(1, 16))
def test_pruning_leaves_something_and_never_grows(sparsity: float, heads: int) -> None:
    architecture = Architecture.of(1, 32 * heads)
    assert 1 <= architecture.kept_heads(sparsity) <= heads
    assert 1 <= architecture.kept_feed_forward(sparsity) <= architecture.feed_forward


def test_a_plan_counts_what_arithmetic_allows(make_search: Any) -> None:
    everything = make_plan(SearchSpace(make_search()))
    assert everything.configurations == everything.feasible == 2 * 2 * 2 * 4 * 2
    limit = everything.examples[1].size_mb
    space = SearchSpace(make_search(constraints__max_size_mb=limit))
    plan = make_plan(space)
    by_hand = [
        c for c in map(space.configuration, space.points()) if space.cost(c).size_mb <= limit
    ]
    assert plan.feasible == len(by_hand) < everything.feasible
    cheapest, typical, dearest = plan.examples
    assert cheapest.size_mb <= typical.size_mb <= dearest.size_mb <= limit


def test_extreme_costs_are_the_extremes_of_the_grid(make_search: Any) -> None:
    space = SearchSpace(make_search(space__pruning={"choices": ["structured", "unstructured"]}))
    costs = [space.cost(space.configuration(point)) for point in space.points()]
    cheapest, dearest = space.extreme_costs()
    assert cheapest.size_mb == min(cost.size_mb for cost in costs)
    assert dearest.size_mb == max(cost.size_mb for cost in costs)
    assert (cheapest.flops, dearest.flops) == (
        min(cost.flops for cost in costs),
        max(cost.flops for cost in costs),
    )
