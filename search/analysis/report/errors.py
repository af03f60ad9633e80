"""What the best model gets wrong: its confusion matrix and wrong answers, or its worst texts."""

from __future__ import annotations

from typing import Any

from objectives.tasks.mistakes import Mistakes
from objectives.tasks.worst_texts import WorstTexts
from search.analysis.report.report_data import Section
from search.plots.pages import Chart, Table
from search.plots.style import FRONTIER, empty_figure
from search.storage.trials import TrialRecord

LISTED = 20
"""Wrong answers, or worst texts."""
MOST_CLASSES = 30
"""Of a confusion matrix; of more, the most frequent confusions are listed."""
CELL, LEAST_HEIGHT, LABELS = 26, 220, 110
"""Pixels: of a row of the matrix, of the figure, and of the labels below it."""
NEVER = "#dfe3e6"
"""Colour of cells without answers; opaque, as Plotly chooses that of the numbers by it."""
LONGEST_CLASS = 24
LONGEST_TEXT = 400
"""Characters."""


def errors_section(record: TrialRecord, found: Mistakes | WorstTexts | str) -> Section:
    """What the model of a trial gets wrong, or why that is not known."""
    title = f"What #{record.number} gets wrong"
    if isinstance(found, str):
        return Section("errors", title, notes=(f"Not measured: {found}.",))
    if isinstance(found, WorstTexts):
        return _worst_texts(found, f"What #{record.number} does worst")
    of_all = f"{found.wrong:,} of {found.answers:,} answers on {found.split} are wrong."
    fits = len(found.classes) <= MOST_CLASSES
    return Section(
        name="errors",
        title=title,
        intro=of_all,
        charts=(_matrix(found),) if fits else (),
        caption="Numbers are answers; the colour is their fraction of the expected class."
        if fits
        else "",
        tables=(_confusions(found), *_mistakes(found)),
    )


def _matrix(found: Mistakes) -> Chart:
    import plotly.graph_objects as go

    names = [_shortened(name, LONGEST_CLASS) for name in found.classes]
    height = max(LEAST_HEIGHT, CELL * len(names) + LABELS)
    # Positions, as two shortened names may be the same.
    places = list(range(len(names)))
    axis: dict[str, Any] = {"tickvals": places, "ticktext": names, "showgrid": False}
    figure = empty_figure(
        height=height,
        x={**axis, "title": "predicted", "automargin": True},
        y={**axis, "title": "expected", "autorange": "reversed"},
    )
    figure.add_trace(
        go.Heatmap(
            x=places,
            y=places,
            z=[[count / max(1, sum(row)) for count in row] for row in found.confusion],
            text=[[f"{count:,}" if count else "" for count in row] for row in found.confusion],
            hovertext=[
                [
                    f"{count:,} of {sum(row):,} {expected!r} are taken for {predicted!r}"
                    for count, predicted in zip(row, names, strict=True)
                ]
                for row, expected in zip(found.confusion, names, strict=True)
            ],
            texttemplate="%{text}",
            hoverinfo="text",
            colorscale=[[0, NEVER], [1, FRONTIER]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=1,
            ygap=1,
        )
    )
    return Chart(figure, "confusion matrix: answers by the expected class and the predicted one")


def _confusions(found: Mistakes) -> Table:
    rows = [
        [expected, predicted, f"{count:,}"]
        for count, expected, predicted in found.confusions()[:LISTED]
    ]
    label = "the most frequent confusions as a table"
    return Table(label, ("expected", "predicted", "answers"), rows, numeric=(2,), is_folded=True)


def _mistakes(found: Mistakes) -> tuple[Table, ...]:
    rows = [
        [
            str(each.row),
            each.expected,
            each.predicted,
            f"{each.confidence:.3f}",
            _shortened(each.input, LONGEST_TEXT),
        ]
        for each in found.worst
    ]
    heads = ("row", "expected", "predicted", "confidence", "input")
    label = "wrong answers, the most confident first"
    return (Table(label, heads, rows, numeric=(3,)),) if rows else ()


def _worst_texts(found: WorstTexts, title: str) -> Section:
    has_input = any(each.input for each in found.worst)
    heads = ("score", "input", "written", "expected") if has_input else ("loss", "passage")
    rows = []
    for each in found.worst:
        texts = (each.input, each.written, each.expected) if has_input else (each.expected,)
        rows.append([f"{each.score:.2f}", *(_shortened(text, LONGEST_TEXT) for text in texts)])
    return Section(
        name="errors",
        title=title,
        intro=(
            f"The worst of {found.texts:,} texts on {found.split}, by {found.measure}; the median "
            f"is {found.middle:.2f}."
        ),
        tables=(Table("the worst texts", heads, rows),),
    )


def _shortened(text: str, longest: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest]}…"
