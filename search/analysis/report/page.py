"""The page: its sections in their order."""

from __future__ import annotations

from markupsafe import Markup

from search.analysis.report import (
    compute,
    conditions,
    dimensions,
    frontier,
    levels,
    progress,
    summary,
    training_reuse,
)
from search.analysis.report.importance import METHOD
from search.analysis.report.markup import tag
from search.analysis.report.report_data import ReportData
from search.analysis.report.style import policy, script, stylesheet

_PAGE = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
<div id="tip" role="tooltip" hidden></div>
<script>{script}</script>
</body>
</html>
""")


def report_page(view: ReportData) -> str:
    """The report of a search as a page that needs no other file and no network."""
    return str(
        _PAGE.format(
            policy=policy(style=stylesheet(), script=script()),
            title=f"{view.search.name}: report",
            style=stylesheet(),
            body=Markup("\n").join([summary.section(view), *_sections(view)]),
            script=script(),
        )
    )


def _sections(view: ReportData) -> list[Markup]:
    return [*(_findings(view) if view.complete else []), *_account(view)]


def _findings(view: ReportData) -> list[Markup]:
    """What is there once a trial is complete."""
    metric, cost = view.score_name, view.cost.noun
    is_fixed = view.search.is_at_fixed_cost
    return [
        _section(
            "frontier",
            f"Every trial: {metric} and {cost}" if is_fixed else f"What {cost} buys",
            "The search is for the best score within its constraints."
            if is_fixed
            else f"The frontier: no trial has a better {metric} at the same {cost} or less.",
            frontier.section(view),
        ),
        _section(
            "levels",
            "The best five" if is_fixed else "The best at each cost",
            "" if is_fixed else f"What to take when the {cost} is given.",
            levels.section(view),
        ),
        _section(
            "progress",
            "How the search got there",
            progress.sentence(view),
            progress.section(view),
        ),
        _section("dimensions", "What each dimension does", METHOD, dimensions.section(view)),
        _section(
            "sharing",
            "How training was shared",
            "Each architecture has one path at constant learning rate. A budget leaves it with a "
            "short decay; a dot is a compression of what came out, coloured where it is on the "
            "frontier. Numbers are steps.",
            training_reuse.section(view),
        ),
    ]


def _account(view: ReportData) -> list[Markup]:
    """What is always there."""
    return [
        _section(
            "compute",
            "Where the compute went",
            "Seconds of the complete trials, by stage and by architecture.",
            compute.section(view),
        ),
        _section("conditions", "Conditions", "", conditions.section(view)),
    ]


def _section(name: str, title: str, text: str, content: Markup) -> Markup:
    intro = tag("p", text, class_="intro") if text else ""
    return tag("section", tag("h2", title, id=name), intro, content, aria_labelledby=name)
