"""The plan of a search as text."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from search.cli.printing.tables import make_table
from spaces.cost.units import duration, quantity
from spaces.grid.gpus import gpu_lines, memory_line
from spaces.grid.plan import Plan
from spaces.grid.side_by_side import idle_line


def print_plan(plan: Plan, name: str, console: Console, at_a_time: int | None) -> None:
    """Print the plan of a search.

    Args:
        at_a_time: Trials that run at the same time; None where a cluster decides.
    """
    exact = "" if plan.examined == plan.configurations else f" (of {plan.examined:,} examined)"
    console.print(
        f"search {name}: {plan.configurations:,} configurations, {plan.feasible:,} may meet "
        f"the constraints{exact}"
    )
    if plan.impossible:
        console.print(f"{plan.impossible:,} more ask for more than their checkpoint has")
    if plan.excluded:
        console.print(f"{plan.excluded:,} of them break constraints.expressions{exact}")
    console.print(_plan_table(plan))
    training = _amount(plan.training_flops, plan.training_seconds)
    console.print(
        f"\n{plan.trials} trials: at most {training} of training, "
        f"{quantity(plan.disk_bytes)}B on disk"
    )
    if plan.training_flops is None:
        console.print("steps and FLOPs of training are known when tlc run has measured its speed")
    if plan.fine_tuning_steps is None:
        console.print(
            "fine-tuning comes on top: its steps are known once the data is prepared (tlc plan)"
        )
    elif plan.fine_tuning_steps:
        stops = "; it stops early where a held-out part of its data shows no progress"
        console.print(
            f"{'on top comes' if plan.training_flops is None else 'that includes'} fine-tuning of "
            f"{'at most ' if plan.stops_early else ''}{plan.fine_tuning_steps:,} steps a model"
            f"{stops if plan.stops_early else ''}"
        )
    if plan.repeats:
        console.print(
            f"further seeds: about {plan.repeats} repeats of the frontier (an estimate of its "
            f"size), at most {_amount(plan.repeat_flops, plan.repeat_seconds)} of training, after "
            "the trials"
        )
    console.print(memory_line(*plan.memory))
    for line in gpu_lines(*plan.memory, plan.gpu_memory_gb):
        console.print(line)
    if at_a_time is not None and (
        idle := idle_line(min(at_a_time, plan.trials), plan.stable_paths)
    ):
        console.print(idle, style="yellow", soft_wrap=True)


def _amount(flops: float | None, seconds: float | None) -> str:
    return duration(seconds or 0.0) if flops is None else f"{quantity(flops)}FLOPs"


def _plan_table(plan: Plan) -> Table:
    """The smallest, a typical and the largest configuration."""
    table = make_table(
        "", "configuration", "parameters", "MB", "forward FLOPs", "training FLOPs", "steps",
        left=["", "configuration"],
    )  # fmt: skip
    for example in plan.examples:
        table.add_row(
            example.kind,
            str(example.configuration),
            quantity(example.parameters).strip(),
            f"{example.size_mb:.3f}",
            quantity(example.forward_flops).strip(),
            "" if example.training_flops is None else quantity(example.training_flops).strip(),
            "" if example.steps is None else f"{example.steps:,}",
        )
    return table
