"""Metrics: one scale of quality for all of them, in either direction."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.cost import metric
from spaces.cost.metric import Metric

METRICS = [
    metric.accuracy(10),
    metric.perplexity(4096),
    metric.bleu(),
    metric.macro_f1(10),
    metric.matthews(),
    metric.bits_per_byte(),
    metric.chrf(),
    metric.rouge("l"),
    *metric.correlations(),
    metric.rmse(2.5),
    metric.of_tags(9)[0],
    metric.accuracy(2, majority=0.95),
    metric.balanced_accuracy(4),
]


@pytest.mark.parametrize("scored_by", METRICS, ids=lambda one: one.name)
def test_a_perfect_model_has_quality_one_and_a_guess_less(scored_by: Metric) -> None:
    assert scored_by.quality(scored_by.perfect) == pytest.approx(1.0)
    assert scored_by.quality(scored_by.guessing) == scored_by.guessing_quality
    assert 0.0 <= scored_by.guessing_quality < 1.0


@pytest.mark.parametrize("scored_by", METRICS, ids=lambda one: one.name)
@given(st.floats(-0.5, 1.0), st.floats(-0.5, 1.0))
def test_value_at_inverts_quality_and_better_values_have_higher_quality(
    scored_by: Metric, one: float, other: float
) -> None:
    first, second = scored_by.value_at(one), scored_by.value_at(other)
    assert scored_by.quality(first) == pytest.approx(one, abs=1e-9)
    if abs(one - other) > 1e-9:
        assert (first > second) == ((one > other) == scored_by.is_maximised)


def test_quality_in_the_unit_of_each_metric() -> None:
    accuracy, perplexity, bleu, *_ = METRICS
    assert accuracy.guessing_quality == 0.1
    assert accuracy.quality(0.75) == 0.75
    assert perplexity.guessing_quality == 0.0
    # Half of the bits of a uniform guess, and one worse than guessing.
    assert perplexity.quality(math.sqrt(4096)) == pytest.approx(0.5)
    assert perplexity.quality(2 * 4096) < 0.0
    assert bleu.quality(25.0) == 0.25
    lower = [m.name for m in METRICS if not m.is_maximised]
    assert lower == ["perplexity", "bits-per-byte", "rmse"]
    # An error of half of the deviation.
    assert metric.rmse(2.5).quality(1.25) == 0.5
    assert metric.rmse(2.5).quality(5.0) == -1.0


def test_a_guess_is_of_the_most_frequent_class() -> None:
    accuracy, balanced, *_ = metric.of_classes(2, majority=0.95)
    # A model that always says the most frequent class has learnt nothing.
    assert accuracy.normalised(0.95) == 0.0
    assert accuracy.normalised(1.0) == 1.0
    assert balanced.normalised(0.5) == 0.0


def test_values_have_the_usual_digits_of_their_metric() -> None:
    accuracy, perplexity, bleu, *_ = METRICS
    assert accuracy.text(0.87654) == "0.877"
    assert perplexity.text(123.456) == "123.5"
    assert bleu.text(27.349) == metric.rouge("2").text(27.349) == "27.3"
