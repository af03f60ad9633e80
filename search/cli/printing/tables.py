"""Tables for a terminal: the frontier, trials, cost levels, a plan and one trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from search.formatting import (
    NOISY_LATENCY,
    has_noisy_latency,
    is_corrected,
    latency_text,
    measured_cost_texts,
    measured_latency,
    score_facts,
    scored_items,
    stage_text,
)
from search.results.baselines import Reference
from search.results.schemas import FrontierMember, Level, Trial
from search.seeds import Spread, deviation_text, spread_text
from spaces.cost.inference_cost import COSTS
from spaces.cost.metric import text
from spaces.cost.units import quantity

DENSE_NOTE = "dense: the best model without compression in at most the same bytes"
UNTESTED = "not tested yet: the test split is read once, when the search ends"


def make_table(*columns: str, left: Sequence[str] = ()) -> Table:
    """An empty table whose columns are right-aligned, except those in ``left``."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
    return table


def frontier_table(members: Sequence[FrontierMember]) -> Table:
    """The frontier, which must have a member."""
    metric = members[0].metric
    corrected = any(is_corrected(row.latency_p10_ms, row.latency_ms) for row in members)
    seeds = ["further seeds", "their test"] if any(row.seeds for row in members) else []
    trimmed = any(row.vocabulary for row in members)
    several = any(row.checkpoint for row in members)
    settings, further = list(members[0].training), list(members[0].further_scores)
    costs, proportions = list(members[0].measured_costs), _proportions(members)
    table = make_table(
        "trial", *(["checkpoint"] if several else []), "depth", "width",
        *proportions, *(["pieces"] if trimmed else []), "budget", *map(_words, settings),
        "compression", metric, "95 % interval", *further, "test",
        *seeds, "dense", "MB", *_latency_columns(corrected), *map(_words, costs),
        *([] if seeds else ["FLOPs", "ratio"]),
        left=["checkpoint", "compression"],
    )  # fmt: skip
    for place, row in enumerate(members):
        decoder = f"+{row.decoder_depth}" if row.decoder_depth else ""
        table.add_row(
            f"#{row.trial}",
            *([row.checkpoint.rpartition("/")[2]] if several else []),
            f"{row.depth}{decoder}",
            str(row.width),
            *(column[place] for column in proportions.values()),
            *([f"{row.vocabulary:,}" if row.vocabulary else "all"] if trimmed else []),
            quantity(row.budget).strip(),
            *(f"{row.training[name]:g}" for name in settings),
            row.compression,
            text(metric, row.score),
            f"{text(metric, row.score_low)}–{text(metric, row.score_high)}",
            *(text(name, row.further_scores[name]) for name in further),
            "" if row.test_score is None else text(metric, row.test_score),
            *(_seed_cells(row) if seeds else ()),
            "none" if row.dense is None else text(metric, row.dense.score),
            f"{row.size_mb:.3f}",
            latency_text(row.latency_p10_ms, noisy=row.latency_noisy),
            *([f"{row.latency_ms:.2f}"] if corrected else []),
            *(f"{row.measured_costs[name]:.3g}" for name in costs),
            # With both, a terminal of usual width would cut the columns.
            *([] if seeds else [quantity(row.flops).strip(), f"{row.compression_ratio:.1f}×"]),
        )
    return table


def _proportions(members: Sequence[FrontierMember]) -> dict[str, list[str]]:
    """Columns of sizes that do not follow from the width alone, by their heads."""
    columns = {}
    if len({row.head_width for row in members}) > 1:
        columns["head width"] = [str(row.head_width) for row in members]
    if len({row.feed_forward / row.width for row in members}) > 1:
        columns["feed-forward"] = [str(row.feed_forward) for row in members]
    if any(row.activation for row in members):
        columns["activation"] = [row.activation for row in members]
    if not all(row.tied_embeddings for row in members):
        columns["tied"] = ["yes" if row.tied_embeddings else "no" for row in members]
    return columns


def _words(name: str) -> str:
    return name.replace("_", " ")


def references_table(references: Sequence[Reference]) -> Table:
    """Baselines, of which there must be one."""
    metric = references[0].metric
    table = make_table("reference", metric, "95 % interval", "test", "MB", left=["reference"])
    for row in references:
        table.add_row(
            row.name,
            text(metric, row.score),
            f"{text(metric, row.score_low)}–{text(metric, row.score_high)}",
            "" if row.test_score is None else text(metric, row.test_score),
            f"{row.size_mb:.3f}",
        )
    return table


def dominated_lines(members: Sequence[FrontierMember]) -> list[str]:
    """A line for each reference that dominates members of the frontier."""
    numbers: dict[str, list[str]] = {}
    for member in members:
        if member.dominated_by is not None:
            numbers.setdefault(member.dominated_by, []).append(f"#{member.trial}")
    return [
        f"{name} is at least as good, and no larger, as {', '.join(dominated)}"
        for name, dominated in numbers.items()
    ]


def reference_text(reference: Reference) -> str:
    """A baseline in a line."""
    metric = reference.metric
    interval = f"{text(metric, reference.score_low)}–{text(metric, reference.score_high)}"
    return (
        f"{reference.name} has {metric} {text(metric, reference.score)} ({interval}) with "
        f"{reference.size_mb:.3g} MB"
    )


def _seed_cells(row: FrontierMember) -> tuple[str, ...]:
    """The scores over further seeds on validation and on test."""
    spreads = (row.seeds.further, row.seeds.further_test) if row.seeds else (None, None)
    return tuple("" if each is None else _short_spread(each, row.metric) for each in spreads)


def _short_spread(spread: Spread, metric: str) -> str:
    deviation = "" if spread.sd is None else f"±{deviation_text(spread.sd)}"
    return f"{text(metric, spread.mean)}{deviation}"


def seeds_note(members: Sequence[FrontierMember]) -> str:
    """What the columns of further seeds mean; empty where there are none."""
    counts = {row.seeds.further.seeds for row in members if row.seeds and row.seeds.further}
    if not counts:
        return ""
    counted = " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
    return (
        f"further seeds: mean ± standard deviation of the same configuration trained with {counted}"
        " other seeds, which had no part in the selection"
    )


def levels_table(levels: Sequence[Level]) -> Table:
    """The best score at each fixed cost."""
    metric = levels[0].metric
    columns = ("at most", "trial", "configuration", metric, "95 % interval")
    table = make_table(*columns, left=["configuration"])
    for level in levels:
        row = [COSTS[level.cost].text(level.limit)]
        if level.score is not None and level.score_low is not None and level.score_high is not None:
            row += [
                f"#{level.trial}",
                level.text,
                text(metric, level.score),
                f"{text(metric, level.score_low)}–{text(metric, level.score_high)}",
            ]
        table.add_row(*row)
    return table


def trials_table(trials: Sequence[Trial]) -> Table:
    """Trials, one in a row."""
    corrected = any(
        is_corrected(measured_latency(trial.result), trial.result["latency_ms"])
        for trial in trials
        if trial.result
    )
    table = make_table(
        "trial", "state", "configuration", "score", "MB", *_latency_columns(corrected), "FLOPs",
        "frontier",
        left=["state", "configuration"],
    )  # fmt: skip
    for trial in trials:
        result = trial.result
        seed = "" if trial.repeats is None else f" seed {trial.configuration['seed']}"
        row = [f"#{trial.trial}", trial.state, f"{trial.text}{seed}"]
        if result:
            further = result.get("further_scores", {})
            scores = {result["metric"]: result["score"]}
            scores |= {name: each["value"] for name, each in further.items()}
            row += [
                ", ".join(f"{name} {text(name, score)}" for name, score in scores.items()),
                f"{result['size_mb']:.3f}",
                latency_text(measured_latency(result), noisy=has_noisy_latency(result)),
                *([f"{result['latency_ms']:.2f}"] if corrected else []),
                quantity(result["flops"]).strip(),
                "yes" if trial.on_frontier else "",
            ]
        table.add_row(*row)
    return table


def trial_table(trial: Trial, traceback: str = "") -> Table:
    """All facts of one trial, and the traceback of the error that ended it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for fact in _facts(trial):
        table.add_row(*fact)
    if traceback:
        table.add_row("traceback", traceback)
    return table


def _latency_columns(corrected: bool) -> tuple[str, ...]:
    """The measured latency and, where it differs for any row, the corrected one."""
    return ("ms", "ms corrected") if corrected else ("ms",)


def _corrected_latency(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not is_corrected(measured_latency(result), result["latency_ms"]):
        return []
    fact = (
        f"{result['latency_ms']:.2f} ms for a slowed machine (reference model "
        f"{result['latency']['slowdown']:.2f}× its best); constraints and the frontier use it"
    )
    return [("corrected latency", fact)]


def _facts(trial: Trial) -> list[tuple[str, str]]:
    facts = [
        ("trial", f"#{trial.trial}"),
        ("state", trial.state),
        ("configuration", f"{trial.text} (budget in {trial.budget_unit})"),
    ]
    if not trial.result:
        return [*facts, ("message", trial.message)]
    r, test = trial.result, trial.test
    latency = r["latency"]
    name, items = r["metric"], scored_items(r["metric"])
    facts += [
        *score_facts(r),
        ("before compression", f"{r['dense_score']:.4f}"),
        ("loss", f"{r['loss']:.4f} nats"),
    ]
    if "score" in test:
        counted = f"{test['examples']:,} {items}"
        facts.append((f"test {name}", f"{test['score']:.4f} on {counted}"))
    elif trial.on_frontier:
        facts.append((f"test {name}", UNTESTED))
    facts += _seed_facts(trial)
    facts += [
        ("size", f"{r['size_bytes']:,} bytes on disk ({r['predicted_size_bytes']:,} predicted)"),
        ("compression ratio", f"{r['compression_ratio']:.2f} of {r['dense_size_bytes']:,} bytes"),
        (
            "latency",
            f"{latency_text(latency['p10_ms'], noisy=has_noisy_latency(r))} ms "
            f"(p50 {latency['p50_ms']:.2f}, p95 {latency['p95_ms']:.2f})"
            + (f"; {NOISY_LATENCY}" if has_noisy_latency(r) else ""),
        ),
        *_corrected_latency(r),
        (
            "latency conditions",
            f"batch {latency['batch_size']}, {latency['sequence_length']} tokens, "
            f"{latency['threads']} threads, {latency['runtime']} on {latency['device']} "
            f"{latency['processor']}",
        ),
        *measured_cost_texts(r),
        ("forward FLOPs", f"{r['flops']:,}"),
        ("parameters", f"{r['parameters']:,}"),
        (
            "training",
            f"{r['steps']['total']:,} steps, of which {r['steps']['reused']:,} were shared; "
            f"{quantity(r['training_flops'])}FLOPs" + _speed(r.get("steps_per_second")),
        ),
        *(("", stage_text(stage)) for stage in r["stages"]),
        ("seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in r["seconds"].items())),
        ("model", r["model"]),
    ]
    return facts


def _speed(steps_per_second: float | None) -> str:
    if steps_per_second is None:
        return ""
    return f"; {steps_per_second:.1f} steps a second, as measured before the search"


UNSELECTED = {"further seeds": ", which had no part in the selection"}


def _seed_facts(trial: Trial) -> list[tuple[str, str]]:
    """The scores over seeds of training, those that had no part in the selection first."""
    if trial.repeats is not None:
        return [("repeats", f"#{trial.repeats} with seed {trial.configuration['seed']}")]
    seeds = trial.seeds
    if seeds is None:
        return [("seeds", "1 seed: the spread over seeds of training is unknown")]
    spreads = {
        "further seeds": seeds.further,
        "test further seeds": seeds.further_test,
        "all seeds": seeds.score,
        "test all seeds": seeds.test,
    }
    facts = [
        (name, _with_interval(spread, trial.result["metric"]) + UNSELECTED.get(name, ""))
        for name, spread in spreads.items()
        if spread is not None
    ]
    numbers = ", ".join(f"#{number}" for number in seeds.repeats)
    parts = [numbers] * bool(numbers) + [f"{seeds.failed} failed"] * bool(seeds.failed)
    return [*facts, ("repeats", "; ".join(parts))]


def _with_interval(spread: Spread, metric: str) -> str:
    found = spread_text(spread, metric)
    if spread.low is None or spread.high is None:
        return found
    interval = f"{text(metric, spread.low)} to {text(metric, spread.high)}"
    return f"{found}, 95 % interval of the mean {interval}"
