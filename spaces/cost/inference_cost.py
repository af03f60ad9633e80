"""The inference costs that a search can limit and weigh against the score."""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    name: str
    noun: str
    unit: str
    axis: str
    description: str
    less: str

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
        Cost("size_mb", "size", "MB", "size on disk, MB", "size on disk", "smaller"),
        Cost("latency_ms", "latency", "ms", "latency, ms", "latency", "faster"),
        Cost(
            "flops", "FLOPs", "FLOPs", "forward FLOPs for one sequence", "forward FLOPs", "cheaper"
        ),
    )
}
"""Every cost by its name."""
