"""The answer first: the best model, and what it took to find it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from markupsafe import Markup

from search.analysis.report.compute import spent
from search.analysis.report.markup import joined, tag, words
from search.analysis.report.plot import number
from search.analysis.report.report_data import ReportData, configured
from search.formatting import has_noisy_latency
from search.pareto import hypervolume_of, nearest
from search.results.training_reuse import training_reuse
from search.storage.trials import TrialRecord
from spaces.cost.inference_cost import COSTS
from spaces.cost.units import duration

LESS = {"size_mb": "smaller", "latency_ms": "faster", "flops": "cheaper"}


def section(view: ReportData) -> Markup:
    """The head of the page."""
    search = view.search
    eyebrow = tag("p", f"{search.task.name} search", class_="eyebrow")
    title = tag("h1", search.name)
    return tag("header", eyebrow, title, *_answer(view), _facts(view))


def _answer(view: ReportData) -> list[Markup]:
    if view.best is not None:
        return [_sentence(view, view.best), _cheaper(view, view.best), _figures(view, view.best)]
    if not view.complete:
        return [tag("p", "No trial is complete yet: there is no answer.", class_="answer")]
    limits = view.search.constraints.limits
    found = nearest(view.complete, view.search.criteria, limits) if limits else view.complete[0]
    assert found is not None
    return [
        tag(
            "p",
            "No trial meets the constraints yet. The nearest is ",
            tag("b", view.name(found)),
            ".",
            class_="answer",
        ),
        _figures(view, found),
    ]


def _sentence(view: ReportData, record: TrialRecord) -> Markup:
    score = f"{view.score_name} {view.metric.text(record.result['score'])}"
    within = " at the fixed cost" if view.search.is_at_fixed_cost else ""
    return tag(
        "p",
        f"The best model{within} has ",
        tag("b", score),
        " at ",
        tag("b", view.cost.text(record.result[view.cost.name])),
        ": ",
        words(configured(record.configuration)),
        f" (trial\u00a0#{record.number}).",
        class_="answer",
    )


def _of_latency(result: dict[str, Any]) -> str:
    return "on a noisy machine" if has_noisy_latency(result) else "10th percentile"


def _figures(view: ReportData, record: TrialRecord) -> Markup:
    result, metric = record.result, view.metric
    test = view.tests.get(record.number, {})
    figures = [
        (view.score_name, metric.text(result["score"]), f"95 % {view.interval(result)}"),
        (f"test {view.score_name}", metric.text(test["score"]), f"95 % {view.interval(test)}")
        if "score" in test
        else (f"test {view.score_name}", "–", "not read yet"),
        ("size", COSTS["size_mb"].text(result["size_mb"]), f"{result['parameters']:,} parameters"),
        ("forward FLOPs", number(result["flops"]), "for one sequence"),
        ("latency", COSTS["latency_ms"].text(result["latency_ms"]), _of_latency(result)),
        (
            "compression",
            f"{result['compression_ratio']:.1f}×",
            f"of {result['dense_size_bytes'] / 1e6:.3g} MB dense",
        ),
    ]
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value), tag("dd", note, class_="note"))
            for name, value, note in figures
        ),
        class_="figures",
    )


def _cheaper(view: ReportData, leader: TrialRecord) -> Markup:
    """The cheapest model whose score lies within the interval of the best one's."""
    ends = [view.metric.quality(leader.result[end]) for end in ("score_low", "score_high")]
    within = [record for record in view.members if view.quality(record) >= min(ends)]
    if not within or within[0].number == leader.number:
        return Markup("")
    cheap = within[0]
    factor = leader.result[view.cost.name] / cheap.result[view.cost.name]
    score = f"{view.score_name} {view.metric.text(cheap.result['score'])}"
    return tag(
        "p",
        "Within its interval, and ",
        tag("b", f"{factor:.2g} times {view.cost.less}"),
        f": {score} at {view.cost.text(cheap.result[view.cost.name])} with ",
        words(configured(cheap.configuration)),
        f" (trial\u00a0#{cheap.number}).",
        class_="second",
    )


def _facts(view: ReportData) -> Markup:
    search = view.search
    objective = view.score_name
    objective += "" if search.is_at_fixed_cost else f" against {search.cost.noun}"
    counts = [f"{count:,} {name}" for name, count in view.data.get("counts", {}).items()]
    facts: list[tuple[str, Iterable[object]]] = [
        ("objective", [objective]),
        ("constraints", [_constraints(view)]),
        ("trials", [_trials(view)]),
        ("hypervolume", [_hypervolume(view)]),
        ("time spent", [_time(view)]),
        ("data", [", ".join(counts) or "not prepared yet"]),
        ("fingerprint", [tag("code", str(view.data.get("fingerprint", "–"))[:16])]),
    ]
    rows = [tag("div", tag("dt", name), tag("dd", joined(value))) for name, value in facts]
    return tag("dl", *rows, class_="facts")


def _constraints(view: ReportData) -> str:
    limits = view.search.constraints.limits
    return ", ".join(f"{COSTS[c].noun} ≤ {COSTS[c].text(v)}" for c, v in limits.items()) or "none"


def _trials(view: ReportData) -> str:
    finished = sum(record.is_finished for record in view.records)
    failed = sum(record.is_finished and not record.is_complete for record in view.records)
    running = len(view.records) - finished
    asked = view.search.trials
    state = "all finished" if finished >= asked else f"{finished:,} finished"
    parts = [f"{asked:,} asked for, {state}"]
    parts += [f"{failed:,} failed"] if failed else []
    parts += [f"{running:,} running or cut off"] if running else []
    return ", ".join(parts)


def _hypervolume(view: ReportData) -> str:
    scale, metric = view.scale, view.metric
    volume = hypervolume_of(view.records, view.search.criteria, scale)
    return (
        f"{volume:.3f} of the box from guessing ({metric.text(metric.guessing)}) to "
        f"{metric.text(metric.perfect)} and from {scale.cost.text(scale.highest)} down to "
        f"{scale.cost.text(scale.lowest)}"
    )


def _time(view: ReportData) -> str:
    saved = training_reuse(view.records)["seconds_saved"]
    return f"{duration(spent(view.complete))} of compute; {duration(saved)} saved by sharing"
