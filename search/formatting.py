"""Numbers, configurations and latencies as text, for the terminal, figures and MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spaces.cost.configuration import Configuration
from spaces.cost.units import quantity

SCORED_ITEMS = {"accuracy": "examples", "perplexity": "tokens", "bleu": "sentences"}
"""What each metric averages over."""

NOISY_LATENCY = "≈ measured while other programs disturbed the machine"


def configuration_text(configuration: Configuration, budget_unit: str) -> str:
    """A configuration such as ``depth 2, width 64, 400 steps, rtn-4``."""
    architecture = configuration.architecture
    return (
        f"depth {depth_text(architecture.depth, architecture.decoder_depth)}, "
        f"width {architecture.width}, {quantity(configuration.budget).strip()} {budget_unit}, "
        f"{configuration.compression}"
    )


def depth_text(depth: int, decoder_depth: int) -> str:
    """Layers of the encoder, and of the decoder if there is one: ``4+2``."""
    return f"{depth}+{decoder_depth}" if decoder_depth else f"{depth}"


def cost_summary(result: Mapping[str, Any], cost: str) -> str:
    """Size and latency of a result, and FLOPs if they are the search's inference cost."""
    latency = latency_text(result["latency_ms"], noisy=has_noisy_latency(result))
    parts = [f"{result['size_mb']:.3f} MB", f"{latency} ms"]
    if cost == "flops":
        parts.append(f"{quantity(result['flops'])}FLOPs")
    return "  ".join(parts)


def latency_text(latency_ms: float, *, noisy: bool) -> str:
    """A latency; ``≈`` marks an estimate from a disturbed measurement."""
    return f"{'≈' if noisy else ''}{latency_ms:.2f}"


def has_noisy_latency(result: Mapping[str, Any]) -> bool:
    """Whether other programs disturbed the measurement of a result's latency."""
    return bool(result.get("latency", {}).get("noisy", False))
