"""Numbers as a person reads them, and the tables of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from search.results.schemas import FrontierMember, Level, Trial
from search.storage.trials import TrialRecord, is_noisy
from spaces.cost.inference_cost import COSTS
from spaces.cost.metric import text
from spaces.cost.units import quantity
from spaces.grid.plan import Plan

COUNTED = {"accuracy": "examples", "perplexity": "tokens", "bleu": "sentences"}
"""What a score of each metric is a mean over."""

NOISY = "≈ measured while other programs disturbed the machine"


def short_cost(result: dict[str, Any], cost: str) -> str:
    """Size and latency of a result, and FLOPs where the search weighs them."""
    latency = milliseconds(result["latency_ms"], noisy=is_noisy(result))
    parts = [f"{result['size_mb']:.3f} MB", f"{latency} ms"]
    if cost == "flops":
        parts.append(f"{quantity(result['flops'])}FLOPs")
    return "  ".join(parts)


def milliseconds(latency: float, *, noisy: bool) -> str:
    """A latency, with the mark of an estimate where other programs disturbed its measurement."""
    return f"{'≈' if noisy else ''}{latency:.2f}"


def frontier_rows(
    members: list[TrialRecord], tests: dict[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The frontier as plain values: one row a trial, the cheapest first."""
    return [_row(record, tests.get(record.number, {})) for record in members]


def _row(record: TrialRecord, test: dict[str, Any]) -> dict[str, Any]:
    result = record.result
    architecture = record.configuration.architecture
    return {
        "trial": record.number,
        "depth": architecture.depth,
        "decoder_depth": architecture.decoder_depth,
        "width": architecture.width,
        "budget": record.configuration.budget,
        "compression": str(record.configuration.compression),
        "metric": result["metric"],
        "score": result["score"],
        "score_low": result["score_low"],
        "score_high": result["score_high"],
        "test_score": test.get("score"),
        "size_mb": result["size_mb"],
        "latency_ms": result["latency_ms"],
        "latency_noisy": is_noisy(result),
        "flops": result["flops"],
        "compression_ratio": result["compression_ratio"],
    }


def frontier_table(members: Sequence[FrontierMember]) -> Table:
    """The frontier for a terminal; it has a member at least."""
    metric = members[0].metric
    table = Table(box=None, header_style="bold", pad_edge=False)
    columns = (
        "trial", "depth", "width", "budget", "compression", metric, "95 % interval", "test", "MB",
        "ms", "FLOPs", "ratio",
    )  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name == "compression" else "right", no_wrap=True)
    for row in members:
        decoder = f"+{row.decoder_depth}" if row.decoder_depth else ""
        table.add_row(
            f"#{row.trial}",
            f"{row.depth}{decoder}",
            str(row.width),
            quantity(row.budget).strip(),
            row.compression,
            text(metric, row.score),
            f"{text(metric, row.score_low)}–{text(metric, row.score_high)}",
            "" if row.test_score is None else text(metric, row.test_score),
            f"{row.size_mb:.3f}",
            milliseconds(row.latency_ms, noisy=row.latency_noisy),
            quantity(row.flops).strip(),
            f"{row.compression_ratio:.1f}×",
        )
    return table


def levels_table(levels: Sequence[Level]) -> Table:
    """The best at each fixed cost, for a terminal."""
    metric = levels[0].metric
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("at most", "trial", "configuration", metric, "95 % interval"):
        is_left = name == "configuration"
        table.add_column(name, justify="left" if is_left else "right", no_wrap=True)
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
    """Trials, a line each, for a terminal."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trial", "state", "configuration", "score", "MB", "ms", "frontier"):
        is_left = name in ("state", "configuration")
        table.add_column(name, justify="left" if is_left else "right", no_wrap=True)
    for trial in trials:
        result = trial.result
        numbers = (
            (
                f"{result['metric']} {text(result['metric'], result['score'])}",
                f"{result['size_mb']:.3f}",
                milliseconds(result["latency_ms"], noisy=is_noisy(result)),
            )
            if result
            else ("", "", "")
        )
        table.add_row(
            f"#{trial.trial}",
            trial.state,
            trial.text,
            *numbers,
            "yes" if trial.on_frontier else "",
        )
    return table


def plan_table(plan: Plan) -> Table:
    """The smallest, a typical and the largest configuration."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (
        "",
        "configuration",
        "parameters",
        "MB",
        "forward FLOPs",
        "training FLOPs",
        "steps",
    ):
        table.add_column(name, justify="left" if name in ("", "configuration") else "right")
    for example in plan.examples:
        table.add_row(
            example.kind,
            str(example.configuration),
            quantity(example.parameters).strip(),
            f"{example.size_mb:.3f}",
            quantity(example.forward_flops).strip(),
            quantity(example.training_flops).strip(),
            f"{example.steps:,}",
        )
    return table


def trial_table(trial: Trial) -> Table:
    """Everything about one trial."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for key, value in _facts(trial):
        table.add_row(key, value)
    return table


def _facts(trial: Trial) -> list[tuple[str, str]]:
    facts = [("trial", f"#{trial.trial}"), ("state", trial.state)]
    facts.append(("configuration", f"{trial.text} {trial.budget_unit}"))
    if not trial.result:
        return [*facts, ("message", trial.message)]
    r, test = trial.result, trial.test
    latency = r["latency"]
    interval = f"{r['score_low']:.4f} to {r['score_high']:.4f}"
    name = r["metric"]
    facts += [
        (
            name,
            f"{r['score']:.4f} on {r['examples']:,} validation {COUNTED[r['metric']]} ({interval})",
        ),
        ("before compression", f"{r['dense_score']:.4f}"),
        ("loss", f"{r['loss']:.4f} nats"),
    ]
    if "score" in test:
        counted = f"{test['examples']:,} {COUNTED[r['metric']]}"
        facts.append((f"test {name}", f"{test['score']:.4f} on {counted}"))
    facts += [
        ("size", f"{r['size_bytes']:,} bytes on disk ({r['predicted_size_bytes']:,} predicted)"),
        ("compression ratio", f"{r['compression_ratio']:.2f} of {r['dense_size_bytes']:,} bytes"),
        (
            "latency",
            f"{milliseconds(r['latency_ms'], noisy=is_noisy(r))} ms: "
            f"p10 {latency['p10_ms']:.2f}, p50 {latency['p50_ms']:.2f}, "
            f"p95 {latency['p95_ms']:.2f} ms (reference model {latency['reference_p50_ms']:.2f})"
            + (f"; {NOISY}" if is_noisy(r) else ""),
        ),
        (
            "latency conditions",
            f"batch {latency['batch_size']}, {latency['sequence_length']} tokens, "
            f"{latency['threads']} threads, {latency['device']} {latency['processor']}",
        ),
        ("forward FLOPs", f"{r['flops']:,}"),
        ("parameters", f"{r['parameters']:,}"),
        (
            "training",
            f"{r['steps']['total']:,} steps, of which {r['steps']['reused']:,} were shared; "
            f"{quantity(r['training_flops'])}FLOPs",
        ),
        (
            "seconds",
            ", ".join(f"{name} {seconds:.1f}" for name, seconds in r["seconds"].items()),
        ),
        ("model", r["model"]),
    ]
    return facts
