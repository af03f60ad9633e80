"""The claims on made-up studies with a known truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from search.analysis.claims.inference import CLAIMS_TESTED, best_of_others
from search.analysis.claims.observations import Observations
from search.analysis.claims.report import CLAIMS, claims_page, judge_all
from search.analysis.claims.verdict import Answer, Verdict
from search.storage.references import ReferenceRecord
from tests.search.made_up_studies import Truth

THE_PAPER = Truth(size=-0.08, training=-0.1, compression=True, robust=0.1)
"""Larger models are better at equal steps and lose less to compression."""


def answers(observations: Observations) -> dict[int, Verdict]:
    return {verdict.number: verdict for verdict in judge_all(observations)}


def test_a_world_of_the_paper_supports_its_claims() -> None:
    found = answers(replace(THE_PAPER, at_equal="flops").study(3, 0))
    supported = {k for k, verdict in found.items() if verdict.answer is Answer.SUPPORTED}
    assert supported >= {1, 2, 3, 4, 5, 7, 8}
    assert all(verdict.rows for verdict in found.values())
    assert not any(found[k].missing for k in supported)


def test_a_reversed_world_contradicts_them() -> None:
    reversed_world = replace(THE_PAPER, size=0.08, robust=-0.3, at_equal="flops")
    found = answers(reversed_world.study(3, 0))
    assert [found[k].answer for k in (1, 3, 4)] == [Answer.CONTRADICTED] * 3


def test_effects_are_the_true_ones() -> None:
    quiet = {
        "architecture_noise": 1e-6, "path_noise": 1e-6, "budget_noise": 0.0,
        "evaluation_noise": 1e-7,
    }  # fmt: skip
    found = answers(replace(THE_PAPER, **quiet).study(3, 0))
    effects = {k: verdict.effect.estimate for k, verdict in found.items() if verdict.effect}
    # With embeddings, a doubling of all parameters is a little more than one of those of layers.
    assert effects[2] == pytest.approx(100 * (2**-0.08 - 1), rel=0.05)
    # Between 1.9 and 8 times the training.
    assert 100 * (1 - 1.9**-0.1) < effects[5] < 100 * (1 - 8**-0.1)
    assert effects[6] == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_describe_and_decide_nothing(seeds: int) -> None:
    found = answers(THE_PAPER.study(seeds, 0))
    assert {verdict.answer for verdict in found.values()} == {Answer.UNDECIDED}
    for verdict in found.values():
        assert verdict.reading.startswith("In this run" if seeds == 1 else "In these 2 runs")
        assert "3 seeds" in verdict.missing[0]
        assert verdict.effect is not None
        assert verdict.effect.low is None


def test_only_models_with_the_same_three_seeds_decide() -> None:
    observations = THE_PAPER.study(3, 0)
    repeated = {shape for shape in THE_PAPER.architectures if shape.width > 32}
    kept = [run for run in observations.runs if run.seed == 0 or run.architecture in repeated]
    found = answers(replace(observations, runs=tuple(kept), compressed=()))
    assert found[2].answer is Answer.SUPPORTED
    assert found[2].effect is not None
    assert found[2].effect.units == f"{len(repeated)} architectures, each with 3 seeds"


def test_depth_against_width() -> None:
    found = {depth: answers(Truth(depth=depth).study(3, 0))[6] for depth in (10.0, -10.0)}
    assert [found[depth].answer for depth in found] == [Answer.SUPPORTED, Answer.CONTRADICTED]
    assert [row["at"] for row in found[10.0].rows] == ["4x32 against 1x64", "4x64 against 1x128"]


def test_converged_models_contradict_early_stopping() -> None:
    converged = Truth(path_noise=0.002, architecture_noise=0.002, budget_noise=0.001)
    assert answers(converged.study(5, 0))[5].answer is Answer.CONTRADICTED


def test_one_size_is_not_enough() -> None:
    found = answers(Truth(shapes=((1, 32),)).study(3, 0))
    assert {verdict.answer for verdict in found.values()} == {Answer.UNDECIDED}
    about_sizes = [found[k] for k in range(1, 9)]
    assert all(verdict.missing and verdict.effect is None for verdict in about_sizes)


def test_one_budget_is_not_enough_for_early_stopping() -> None:
    found = answers(replace(THE_PAPER, budgets=(400.0,)).study(3, 0))
    assert found[2].answer is Answer.SUPPORTED
    assert found[5].effect is None


def test_nothing_at_all_is_not_enough() -> None:
    nothing = replace(Truth().study(3, 0), runs=(), compressed=())
    assert {verdict.answer for verdict in judge_all(nothing)} == {Answer.UNDECIDED}


def test_models_at_chance_are_left_out_and_counted() -> None:
    observations = THE_PAPER.study(3, 0)
    runs = tuple(
        replace(run, quality=0.01) if run.architecture.width == 32 else run
        for run in observations.runs
    )
    reading = answers(replace(observations, runs=runs))[3].reading
    assert "12 models near guessing are left out" in reading


def test_what_other_seeds_choose_is_measured_without_their_luck() -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((2000, 5, 20))
    chosen = [best_of_others(study) for study in scores]
    measured = [study[np.arange(5), k].mean() for study, k in zip(scores, chosen, strict=True)]
    assert np.mean(measured) == pytest.approx(0.0, abs=0.03)
    assert scores.mean(axis=1).max(axis=1).mean() > 0.7


def test_the_best_reference_within_the_bytes_stands_beside_the_models() -> None:
    references = tuple(
        ReferenceRecord(name, "", size, {"validation": {"score": score}})
        for name, size, score in (("bigrams", 70_000, 90.0), ("trigrams", 300_000, 60.0))
    )
    observations = replace(THE_PAPER.study(3, 0), references=references)
    rows = answers(observations)[8].rows
    assert [row["reference"] for row in rows[:4]] == [
        "none so small", "bigrams · 90", "bigrams · 90", "trigrams · 60",
    ]  # fmt: skip


def test_intervals_hold_for_all_claims_together() -> None:
    assert len(CLAIMS) == CLAIMS_TESTED
    assert [claim.number for claim in CLAIMS] == list(range(1, len(CLAIMS) + 1))


def test_the_page_is_self_contained_and_escapes_names() -> None:
    observations = replace(Truth().study(1, 0), names=("<b>&",))
    page = claims_page(observations, judge_all(observations), {1: b"png"})
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert 'src="http' not in page
    assert "there is one seed" in page
