"""The inference costs that a search can limit and weigh against the score.

Every search has those of ``ALWAYS``. The others are measured only where a search names them, in
``objectives`` or ``constraints``.

To add one: a line in ``COSTS``, its field of ``Constraints`` (``spaces/file/space.py``), of
``Limits`` (``search/api/choice.py``), of ``Order`` (``search/results/queries.py``) and of the
service (``search/service/read_routes.py``), and, where ``is_measured``, what measures it, in
``meters_of`` (``objectives/measurement/cost_meters.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.cost.units import quantity


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of inference cost: less is better.

    Args:
        name: Its key in results, search files and schemas.
        noun: Its name in a sentence.
        axis: Title of its axis in a figure.
        description: The measured quantity, in a sentence.
        less: Comparative for a model that has less of it.
        limit: What its limit is, in a sentence.
        is_measured: Whether untrained models are measured before a search; others are computed.
        is_optional: Whether a result has it only where the search names it.
        is_of_decoding: Whether only tasks whose models write tokens have it.
        is_of_storage: Whether it depends on how weights are stored, and not only on what runs.
    """

    name: str
    noun: str
    unit: str
    axis: str
    description: str
    less: str
    limit: str = ""
    is_measured: bool = False
    is_optional: bool = False
    is_of_decoding: bool = False
    is_of_storage: bool = False

    @property
    def option(self) -> str:
        """Command-line option that limits it."""
        return f"--max-{self.name.replace('_', '-')}"

    @property
    def constraint(self) -> str:
        """Field of the search file that limits it."""
        return f"max_{self.name}"

    def text(self, value: float) -> str:
        """A value with its unit."""
        return f"{quantity(value)}FLOPs" if self.name == "flops" else f"{value:.3g} {self.unit}"


COSTS: dict[str, Cost] = {
    cost.name: cost
    for cost in (
        Cost(
            "size_mb", "size", "MB", "size on disk, MB", "size on disk", "smaller",
            "Largest size on disk, in megabytes (10^6 bytes).",
        ),
        Cost(
            "latency_ms", "latency", "ms", "latency, ms", "latency", "faster",
            "Highest latency of a batch, in ms, corrected for a slowed machine.",
            is_measured=True,
        ),
        Cost(
            "flops", "FLOPs", "FLOPs", "forward FLOPs for one sequence", "forward FLOPs", "cheaper",
            "Most FLOPs for a sequence.",
        ),
        Cost(
            "first_token_ms", "time to the first token", "ms", "time to the first token, ms",
            "time to the first token that a model writes", "faster",
            "Longest time to the first token that a model writes, in ms.",
            is_measured=True, is_optional=True, is_of_decoding=True,
        ),
        Cost(
            "token_ms", "time per token", "ms", "time per token, ms",
            "time of each further token that a model writes", "faster",
            "Longest time of each further token that a model writes, in ms.",
            is_measured=True, is_optional=True, is_of_decoding=True,
        ),
        Cost(
            "example_ms", "time per example", "ms", "time per example in a large batch, ms",
            "time per example in a large batch: 1000 / throughput", "faster",
            "Longest time per example in a large batch, in ms: 1000 / (examples per second).",
            is_measured=True, is_optional=True,
        ),
        Cost(
            "memory_mb", "memory", "MB", "peak memory, MB",
            "peak memory of a process that loads and runs the model, less the runtime's own",
            "leaner", "Highest peak memory, in megabytes (10^6 bytes).",
            is_measured=True, is_optional=True, is_of_storage=True,
        ),
    )
}  # fmt: skip
"""Every cost by its name."""

ALWAYS = tuple(name for name, cost in COSTS.items() if not cost.is_optional)
"""Names of the costs that every result has."""


def optional_costs(result: Mapping[str, Any]) -> list[str]:
    """Names of the costs of a result that only some searches have."""
    return [name for name, cost in COSTS.items() if cost.is_optional and name in result]
