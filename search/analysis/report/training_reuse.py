"""How training was shared: the stable path of each architecture, with what hangs on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from search.analysis.report.axes import Axis
from search.analysis.report.markup import joined, percentage, tag
from search.analysis.report.plot import at, dot, line
from search.analysis.report.report_data import ReportData, amount
from search.results.training_reuse import training_reuse
from search.storage.trials import TrialRecord
from spaces.cost.architecture import Architecture
from spaces.cost.budget import TrainingSteps
from spaces.cost.units import duration

MOST_SHOWN, MOST_FOLDED = 12, 48
LINEAR = 10.0
"""Ratio of the longest training to the shortest up to which steps are drawn as they are."""
PATH, END, DOTS, PITCH, A_ROW, MOST_DOTS = 22, 38, 50, 7, 4, 16
"""Pixels down of the path, of the end of a decay and of the first dot; between dots; counts."""
CLOSEST = 0.09
"""Share of the length below which two labels would touch."""


@dataclass(frozen=True)
class _Branch:
    """A budget of an architecture, and its compressions.

    Args:
        steps: Steps of its stages.
        records: Trials that compressed what was trained.
    """

    steps: TrainingSteps
    records: list[TrialRecord]


@dataclass(frozen=True)
class _Tree:
    """A stable path.

    Args:
        architecture: What is trained.
        branches: Its budgets, the smallest first.
    """

    architecture: Architecture
    branches: list[_Branch]

    @property
    def records(self) -> list[TrialRecord]:
        """All trials of the architecture."""
        return [record for branch in self.branches for record in branch.records]


def section(view: ReportData) -> Markup:
    """What was saved, and a tree for each architecture."""
    trees = sorted(_trees(view), key=lambda tree: -len(tree.records))
    axis = _axis(trees)
    drawn = [_drawn(view, tree, axis) for tree in trees]
    parts = [_saved(view), tag("div", *drawn[:MOST_SHOWN], class_="trees")]
    if len(drawn) > MOST_SHOWN:
        folded = drawn[MOST_SHOWN : MOST_SHOWN + MOST_FOLDED]
        left = len(drawn) - MOST_SHOWN
        told = f"{left} more architectures"
        if left > MOST_FOLDED:
            told = f"{MOST_FOLDED} of {told}, those with the most trials"
        summary, more = tag("summary", told), tag("div", *folded, class_="trees")
        parts.append(tag("details", summary, more))
    return joined(parts)


def _trees(view: ReportData) -> list[_Tree]:
    found: dict[Architecture, dict[float, list[TrialRecord]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for record in view.complete:
        found[record.configuration.architecture][record.configuration.budget].append(record)
    return [
        _Tree(
            architecture,
            [
                _Branch(view.space.schedule.steps(b, architecture, view.space.workload), records)
                for b, records in sorted(budgets.items())
            ],
        )
        for architecture, budgets in found.items()
    ]


def _axis(trees: Sequence[_Tree]) -> Axis:
    ends = [branch.steps.pretraining for tree in trees for branch in tree.branches]
    if max(ends) <= LINEAR * min(ends):
        return Axis(0.0, 1.06 * max(ends))
    return Axis(min(ends) / 2.0, 1.1 * max(ends), is_log=True)


def _saved(view: ReportData) -> Markup:
    told = training_reuse(view.complete)
    trained = told["steps_total"] - told["steps_reused"]
    share = told["steps_reused"] / told["steps_total"]
    bar = tag(
        "svg",
        tag("rect", width=f"{100 - 100 * share:.4g}%", height=20, class_="train"),
        tag("rect", x=f"{100 - 100 * share:.4g}%", width=f"{100 * share:.4g}%", height=20,
            class_="reused"),
        class_="bar tall",
        height=20,
        role="img",
        aria_label=f"{percentage(share)} of the steps were reused",
    )  # fmt: skip
    legend = tag(
        "ul",
        tag("li", tag("span", class_="key train"), "trained ", tag("b", f"{trained:,} steps"),
            f" in {duration(told['seconds_trained'])}"),
        tag("li", tag("span", class_="key reused"), "reused ",
            tag("b", f"{told['steps_reused']:,} steps"),
            f" ({percentage(share)}), {duration(told['seconds_saved'])} saved"),
        class_="legend",
    )  # fmt: skip
    return joined([legend, bar])


def _drawn(view: ReportData, tree: _Tree, axis: Axis) -> Markup:
    members = {record.number for record in view.members}
    longest = max(branch.steps.stable for branch in tree.branches)
    marks = [line(0, axis.share(longest), PATH, PATH, class_="path")]
    labelled = -1.0
    for branch in tree.branches:
        end = axis.share(branch.steps.pretraining)
        start = axis.share(branch.steps.stable)
        marks.append(line(start, end, PATH, END, class_="decay"))
        marks.append(dot(start, PATH, 2.5, class_="fork"))
        marks.append(at(end, *_hanging(view, branch, members)))
        if end - labelled > CLOSEST:
            text = amount(branch.steps.pretraining)
            marks.append(at(end, tag("text", text, y=PATH - 10, class_="middle")))
            labelled = end
    told = training_reuse(tree.records)
    trained = told["steps_total"] - told["steps_reused"]
    count = len(tree.records)
    facts = (
        f"{count:,} {'trial' if count == 1 else 'trials'}; "
        f"{trained:,} steps trained, {told['steps_reused']:,} reused"
    )
    rows = min(MOST_DOTS, max(len(b.records) for b in tree.branches))
    height = DOTS + PITCH * (-(-rows // A_ROW)) + 2
    chart = tag(
        "svg", *marks, class_="tree", height=height, role="group",
        aria_label=f"stable path of {tree.architecture}: {facts}",
    )  # fmt: skip
    head = tag("figcaption", tag("b", str(tree.architecture)), tag("span", facts))
    return tag("figure", head, chart)


def _hanging(view: ReportData, branch: _Branch, members: set[int]) -> list[Markup]:
    """A dot for each compression of a trained model, those on the frontier first."""
    ranked = sorted(branch.records, key=lambda r: (r.number not in members, r.number))
    shown = ranked if len(ranked) <= MOST_DOTS else ranked[: MOST_DOTS - A_ROW]
    dots = [
        tag(
            "circle",
            cx=PITCH * (k % A_ROW - (min(A_ROW, len(ranked)) - 1) / 2),
            cy=DOTS + PITCH * (k // A_ROW),
            r=2.5,
            class_="dot front" if record.number in members else "dot",
            data_trial=record.number,
            data_model=view.model(record),
        )
        for k, record in enumerate(shown)
    ]
    if len(shown) < len(ranked):
        y = DOTS + PITCH * (len(shown) // A_ROW) + 4
        dots.append(tag("text", f"+{len(ranked) - len(shown)}", y=y, class_="middle"))
    return dots
