"""Expressions of constraints: their language, and what they leave of a space."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.expression import LONGEST, Expression
from spaces.file.search_file import SearchFile
from spaces.grid.plan import make_plan
from spaces.grid.search_space import SearchSpace
from spaces.loading import SearchFileError

VALUES = {"width": 64, "depth": 3, "sparsity": 0.5, "quantisation": "rtn-4", "head_width": 32}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("width >= 2 * head_width", True),
        ("1 < depth <= 2", False),
        ("1 < depth <= 3", True),
        ("width // depth == 21 and width % depth == 1", True),
        ("not (depth == 3 or sparsity > 0.4)", False),
        ("-depth ** 2 == -9", True),
        ("quantisation != 'none' and sparsity <= 1e3", True),
        ("'rtn-4' == quantisation", True),
        # What has no value holds for nothing.
        ("width / (depth - 3) > 0", False),
        ("(-width) ** sparsity > 0", False),
        ("width ** (width ** width) > 0", False),
        ("-" * 290 + "1 > 0", True),
    ],
)
def test_an_expression_holds_as_in_python(text: str, holds: bool) -> None:
    assert Expression(text).holds(VALUES) is holds


numbers = st.one_of(st.sampled_from(["width", "depth", "sparsity"]), st.integers(0, 9).map(str))
sums = st.recursive(
    numbers,
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda p: f"({' '.join(p)})"),
    max_leaves=5,
)
comparisons = st.tuples(sums, st.sampled_from(["<", "<=", "==", "!=", ">", ">="]), sums).map(
    " ".join
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.tuples(inner, st.sampled_from(["and", "or", "and not"]), inner).map(
        lambda p: f"({' '.join(p)})"
    ),
    max_leaves=4,
).filter(lambda text: len(text) <= LONGEST)


@given(conditions)
def test_an_expression_means_what_python_means(text: str) -> None:
    expression = Expression(text)
    assert expression.holds(VALUES) is eval(text, {**VALUES})
    assert expression.names <= {*VALUES}


@given(st.text("(w-)*'\"10.andort :=[]{}f@#λ\n", max_size=30))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        expression = Expression(text)
    except ValueError:
        return
    assert expression.holds(dict.fromkeys(expression.names, 1)) in (True, False)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("__import__('os').system('true')", "is not allowed; allowed are names, numbers"),
        ("(lambda: 1)() == 1", "is not allowed"),
        ("[width][0] == 1", "'[width][0]' is not allowed"),
        ("width.real.imag == 1", "is not allowed"),
        ("f'{width}' == '64'", "is not allowed"),
        ("(w := 2) == 2", "is not allowed"),
        ("1e999 > width", "is not allowed"),
        ("2 * width", "'2 * width' is a number; it must be true or false"),
        ("width and depth", "'width' is a number; it must be true or false"),
        ("quantisation > 'none'", "texts with == and !="),
        ("quantisation == 4", "texts with == and !="),
        ("width in (1, 2)", "is not allowed"),
        ("depth is 1", "numbers are compared with"),
        ("width >", "cannot be read"),
        ("", "cannot be read"),
        ("width > 0" + " " * LONGEST, "309 characters; the maximum is 300"),
    ],
)
def test_anything_else_is_refused(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)):
        Expression(text)


def space(make_search: Callable[..., SearchFile], *texts: str, **fields: Any) -> SearchSpace:
    return SearchSpace(make_search(constraints={"expressions": list(texts)}, **fields))


@pytest.mark.parametrize(
    ("text", "meets"),
    [
        ("width > 32", lambda c: c.architecture.width == 64),
        ("feed_forward == 4 * width and bits < 8", lambda c: c.compression.quantisation.bits < 8),
        ("budget <= 20 or sparsity == 0", lambda c: c.budget == 20 or c.compression.sparsity == 0),
        ("quantisation != 'rtn-4'", lambda c: c.compression.quantisation != "rtn-4"),
    ],
)  # fmt: skip
def test_points_that_break_an_expression_are_not_feasible_and_counted(
    text: str, meets: Callable[[Any], bool], make_search: Callable[..., SearchFile]
) -> None:
    usual, limited = SearchSpace(make_search()), space(make_search, text)
    assert limited.configurations == usual.configurations
    every = {limited.configuration(point) for point in limited.points()}
    feasible = {each for each in every if limited.is_feasible(each)}
    assert feasible == {each for each in every if meets(each)}
    plan = make_plan(limited, 10)
    assert (plan.feasible, plan.excluded) == (len(feasible), len(every) - len(feasible))
    assert 0 < plan.excluded < plan.configurations


def test_costs_that_are_known_before_training_have_names(
    make_search: Callable[..., SearchFile],
) -> None:
    usual = SearchSpace(make_search())
    cheapest, dearest = usual.extreme_costs()
    for name in ("size_mb", "flops"):
        limit = (getattr(cheapest, name) + getattr(dearest, name)) / 2
        limited = space(make_search, f"{name} <= {limit!r}")
        for point in limited.points():
            configuration = limited.configuration(point)
            is_below = getattr(limited.cost(configuration), name) <= limit
            assert limited.is_feasible(configuration) is is_below
    largest = usual.largest_parameters
    small = space(make_search, f"parameters < {largest}")
    assert not small.is_feasible(
        small.configuration(tuple(len(d.values) - 1 for d in small.dimensions))
    )


def test_fit_takes_the_mildest_compression_that_meets_the_expressions(
    make_search: Callable[..., SearchFile],
) -> None:
    fitted = SearchSpace(
        make_search(
            constraints={"max_size_mb": 5.0, "expressions": ["bits <= 4 or width == 32"]},
            space__compression="fit",
        )
    )
    found = {fitted.configuration(point) for point in fitted.points()}
    bits = {(c.architecture.width, c.compression.quantisation.bits) for c in found}
    assert bits == {(32, 32), (64, 4)}


REFUSED = {
    "widht > 2": "constraints.expressions.0: widht is not known; allowed: bits, budget, depth,",
    "decoder_depth > 2": "constraints.expressions.0: decoder_depth is not known",
    "learning_rate > 1": "constraints.expressions.0: learning_rate is not known",
    "quantisation == 'rtn-5'": "quantisation is never 'rtn-5'; it is one of none, static-8, rtn-8",
    "width > 64": "constraints.expressions.0: 'width > 64' holds for no model of this space",
    "budget > 40": "constraints.expressions.0: 'budget > 40' holds for no model of this space",
    "width + ": "constraints.expressions.0: cannot be read",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_no_model_can_meet_is_refused(
    text: str, make_search: Callable[..., SearchFile]
) -> None:
    with pytest.raises(SearchFileError) as refused:
        space(make_search, text)
    assert REFUSED[text] in str(refused.value)


def test_expressions_that_exclude_one_another_are_refused(
    make_search: Callable[..., SearchFile],
) -> None:
    with pytest.raises(SearchFileError, match=r"meets all of them together; width == 32; width >"):
        space(make_search, "width == 32", "width > 32")


def test_settings_that_are_searched_have_names(make_search: Callable[..., SearchFile]) -> None:
    training = {"learning_rate": {"choices": [1e-3, 2e-3]}, "fine_tuning": {"dropout": 0.1}}
    text = "learning_rate * depth <= 0.002 and fine_tuning.dropout > 0"
    limited = space(make_search, text, space__training=training)
    for point in limited.points():
        configuration = limited.configuration(point)
        rate = dict(configuration.training)["learning_rate"]
        expected = rate * configuration.architecture.depth <= 0.002
        assert limited.is_feasible(configuration) is expected
