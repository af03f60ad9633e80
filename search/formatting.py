"""Numbers, configurations and latencies as text, for the terminal, figures and MLflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from spaces.cost.architecture import Architecture
from spaces.cost.configuration import Configuration
from spaces.cost.inference_cost import COSTS, optional_costs
from spaces.cost.units import quantity

_SCORED_ITEMS = {
    "perplexity": "tokens", "bits-per-byte": "tokens", "bleu": "sentences", "chrf": "sentences",
    "rouge-1": "documents", "rouge-2": "documents", "rouge-l": "documents",
}  # fmt: skip

NOISY_LATENCY = "≈ measured while other programs disturbed the machine"


def scored_items(metric: str) -> str:
    """What a metric is measured on, such as ``examples``."""
    return _SCORED_ITEMS.get(metric, "examples")


def score_facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The scores of a result on validation with their intervals, and how BLEU was computed."""
    items, interval = scored_items(result["metric"]), "{low:.4f} to {high:.4f}".format
    ends = interval(low=result["score_low"], high=result["score_high"])
    return [
        (
            result["metric"],
            f"{result['score']:.4f} on {result['examples']:,} validation {items} ({ends})",
        ),
        *(
            (name, f"{each['value']:.4f} ({interval(low=each['low'], high=each['high'])})")
            for name, each in result.get("further_scores", {}).items()
        ),
        *(
            (name, value if isinstance(value, str) else f"{value:.4f}")
            for name, value in result.get("score_details", {}).items()
        ),
    ]


def configuration_text(configuration: Configuration, budget_unit: str) -> str:
    """A configuration such as ``depth 2, width 64, 400 steps, rtn-4``."""
    architecture = configuration.architecture
    pieces = f"{architecture.vocabulary:,} pieces, " if architecture.vocabulary else ""
    return (
        f"{checkpoint_text(architecture.checkpoint)}"
        f"depth {depth_text(architecture.depth, architecture.decoder_depth)}, "
        f"width {architecture.width}, {proportions_text(architecture)}{pieces}"
        f"{quantity(configuration.budget).strip()} {budget_unit}, "
        f"{settings_text(configuration)}{configuration.compression}"
    )


def proportions_text(architecture: Architecture) -> str:
    """What of an architecture is not as usual, each before a comma."""
    return "".join(f"{each}, " for each in architecture.proportions)


def settings_text(configuration: Configuration, end: str = ", ") -> str:
    """The settings of training that are searched, each before ``end``."""
    return "".join(f"{name} {value:g}{end}" for name, value in configuration.training)


def checkpoint_text(checkpoint: str) -> str:
    """The last part of the name of one of several checkpoints, before its sizes."""
    return f"{checkpoint.rpartition('/')[2]}, " if checkpoint else ""


def depth_text(depth: int, decoder_depth: int) -> str:
    """Layers of the encoder, and of the decoder if there is one: ``4+2``."""
    return f"{depth}+{decoder_depth}" if decoder_depth else f"{depth}"


def cost_summary(result: Mapping[str, Any], *costs: str) -> str:
    """Size and latency of a result, what else the search measured, and FLOPs if they are among
    the search's inference costs."""
    parts = [f"{result['size_mb']:.3f} MB", f"{latency_summary(result)} ms"]
    parts += [f"{name} {COSTS[name].text(result[name])}" for name in optional_costs(result)]
    if "flops" in costs:
        parts.append(f"{quantity(result['flops'])}FLOPs")
    return "  ".join(parts)


def stage_text(stage: Mapping[str, Any]) -> str:
    """A stage of training such as ``fine-tuning 585 steps, 3.0 epochs, 330 k tokens, 5.1 s``.

    Of a stage that keeps the weights of its best epoch, that epoch too.
    """
    text = (
        f"{stage['name']} {stage['steps']:,} steps, {stage['epochs']:.1f} epochs, "
        f"{quantity(stage['tokens']).strip()} tokens, {stage['seconds']:.1f} s"
    )
    best = stage["best_epoch"]
    if best is None:
        return text
    score = stage["held_out"][best - 1]["score"]
    return f"{text} (best after epoch {best}: {score:.4f} on held-out examples)"


def measured_cost_texts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The costs of a result that only some searches have: the noun of each, and its value with the
    conditions of its measurement."""
    texts = []
    for name in optional_costs(result):
        text = COSTS[name].text(result[name])
        details = result.get("measured_costs", {}).get(name)
        if details is not None:
            noisy = f"; {NOISY_LATENCY}" if details["noisy"] else ""
            text += (
                f", corrected for a slowed machine (10th percentile {details['p10_ms']:.3g}, p50 "
                f"{details['p50_ms']:.3g}, p95 {details['p95_ms']:.3g}); "
                f"{time_conditions(details)}{noisy}"
            )
        texts.append((COSTS[name].noun, text))
    return texts


def time_conditions(details: Mapping[str, Any]) -> str:
    """Under which conditions a time was measured, from its record."""
    written = f" read and {details['new_tokens']} written" if details.get("new_tokens") else ""
    return (
        f"batch {details['batch_size']}, {details['sequence_length']} tokens{written}, threads "
        f"{details['threads']}, {details['runtime']} on {details['device']} {details['processor']}"
    )


def latency_text(latency_ms: float, *, noisy: bool) -> str:
    """A latency in ms; ``≈`` marks an estimate from a disturbed measurement."""
    return f"{'≈' if noisy else ''}{latency_ms:.2f}"


def latency_summary(result: Mapping[str, Any]) -> str:
    """The measured latency in ms, and the corrected one where it differs: ``0.99 (corrected
    0.90)``."""
    measured, corrected = measured_latency(result), result["latency_ms"]
    text = latency_text(measured, noisy=has_noisy_latency(result))
    return f"{text} (corrected {corrected:.2f})" if is_corrected(measured, corrected) else text


def measured_latency(result: Mapping[str, Any]) -> float:
    """The 10th percentile that was measured, in ms; ``latency_ms`` is corrected, and what
    constraints and the frontier use."""
    return float(result.get("latency", {}).get("p10_ms", result["latency_ms"]))


def is_corrected(measured_ms: float, corrected_ms: float) -> bool:
    """Whether the correction for a slowed machine shows in two decimals."""
    return f"{measured_ms:.2f}" != f"{corrected_ms:.2f}"


def has_noisy_latency(result: Mapping[str, Any]) -> bool:
    """Whether other programs disturbed the measurement of a result's latency."""
    return bool(result.get("latency", {}).get("noisy", False))


def gpu_hours_lines(hours: float, budget: float | None = None) -> Iterator[str]:
    """A line about the GPU-hours of a search; none where no trial had GPUs."""
    if hours:
        yield f"GPU-hours: {hours:.3g}{'' if budget is None else f' of {budget:g}'}"
