"""The report of the claims as one HTML page, and as Markdown."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from search.analysis.claims.observations import Observations
from search.analysis.claims.resampling import DRAWS
from search.analysis.claims.verdict import Answer, Verdict
from search.analysis.report.style import policy, stylesheet

PAPER = "https://arxiv.org/abs/2002.11794"
BADGES = {
    Answer.SUPPORTED: "badge supported",
    Answer.CONTRADICTED: "badge contradicted",
    Answer.NOT_ENOUGH: "badge",
}
"""Classes of the stylesheet."""
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="$policy">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body class="claims">
<main>
<h1>$title</h1>
<p class="quiet">The claims of Li et al. 2020,
<a href="$paper"><i>Train Large, Then Compress</i></a>, tested on $counts.</p>
$summary
$sections
<h2>Conditions</h2>
$conditions
</main>
</body>
</html>
""")


def html(
    observations: Observations, verdicts: Sequence[Verdict], pictures: dict[int, bytes]
) -> str:
    """The page, which needs no other file and no network.

    Args:
        observations: What was tested on.
        verdicts: The answers.
        pictures: PNG by number of the claim.
    """
    return _PAGE.substitute(
        style=stylesheet(),
        policy=policy(style=stylesheet()),
        title=escape(title(observations)),
        paper=PAPER,
        counts=escape(counts(observations)),
        summary=_summary(verdicts),
        sections="\n".join(_section(each, pictures.get(each.number)) for each in verdicts),
        conditions="\n".join(f"<p>{escape(line)}</p>" for line in conditions(observations)),
    )


def markdown(
    observations: Observations, verdicts: Sequence[Verdict], pictures: Iterable[int]
) -> str:
    """The same in Markdown; the pictures are ``claims-N.png`` next to it."""
    drawn = set(pictures)
    lines = [
        f"# {title(observations)}",
        "",
        f"The claims of Li et al. 2020, [Train Large, Then Compress]({PAPER}), tested on "
        f"{counts(observations)}.",
        "",
        *_table([_summary_row(each) for each in verdicts]),
    ]
    for each in verdicts:
        lines += ["", f"## {each.number}. {each.title}: {each.answer}", "", each.statement, ""]
        lines += [f"**{each.effect}**" if each.effect else "No effect could be measured.", ""]
        lines += [each.reading]
        lines += [f"\nMissing: {'; '.join(each.missing)}."] if each.missing else []
        if each.number in drawn:
            lines += ["", f"![{each.title}](claims-{each.number}.png)"]
        if each.rows:
            lines += ["", *_table(each.rows)]
    lines += ["", "## Conditions", ""]
    lines += [f"- {line}" for line in conditions(observations)]
    return "\n".join(lines) + "\n"


def title(observations: Observations) -> str:
    """Heading of both."""
    return f"Train large, then compress? {' + '.join(observations.names)}"


def counts(observations: Observations) -> str:
    """How much was measured."""
    sizes = len({run.architecture for run in observations.runs})
    seeds = len(observations.seeds)
    return (
        f"{len(observations.compressed):,} trials of {len(observations.runs):,} trained models: "
        f"{sizes} architectures, {seeds} seed{'s' * (seeds != 1)}"
    )


def conditions(observations: Observations) -> list[str]:
    """What the intervals hold, and what they do not."""
    if len(observations.seeds) > 1:
        noise = (
            f"Intervals are 95 % bootstrap intervals of {DRAWS:,} draws: replicates with "
            f"{len(observations.seeds)} seeds are drawn with replacement, and evaluation noise is "
            "drawn from the recorded intervals. Few seeds are drawn from, so that intervals tend "
            "to be narrow where seeds are the larger noise."
        )
    else:
        noise = (
            f"Intervals are 95 % bootstrap intervals of {DRAWS:,} draws over evaluation noise "
            "only, because there is one seed: what another initialisation and data order would "
            "change is not in them. Pool searches of other seeds to have it."
        )
    return [
        noise,
        "Evaluation noise is drawn for each model on its own although all answer the same "
        "examples, which makes intervals of differences rather too wide. The standard error of a "
        "cross-entropy is taken to be its mean over the square root of the examples, unless the "
        "score is a perplexity, whose interval is recorded.",
        "Losses are interpolated between two budgets of an architecture, straight over the "
        "logarithm of training, and never extrapolated. Budgets share their stable path, so points "
        "of one curve are not independent runs.",
        "Where the best of several models is compared, it is chosen by one draw and measured by "
        "another, so that its luck does not count. Slopes over size resample architectures too.",
        "Quality is the share of the way from guessing to perfection. A claim is contradicted also "
        "when the effect is known to be negligible. Trials that a sampler chose are where it "
        "expected good models; --complete adds the rest of the grid.",
    ]


def _summary(verdicts: Sequence[Verdict]) -> str:
    rows = "".join(
        f'<tr><td><a href="#claim-{each.number}">{each.number}. {escape(each.title)}</a></td>'
        f"<td>{_badge(each.answer)}</td><td>{escape(_effect(each))}</td></tr>"
        for each in verdicts
    )
    return (
        '<div class="wide"><table class="summary"><tr><th>claim</th><th>answer</th>'
        f"<th>effect (95 % interval)</th></tr>{rows}</table></div>"
    )


def _section(verdict: Verdict, picture: bytes | None) -> str:
    parts = [
        f'<h2 id="claim-{verdict.number}">{verdict.number}. {escape(verdict.title)} '
        f"{_badge(verdict.answer)}</h2>",
        f'<p class="quiet">{escape(verdict.statement)}</p>',
    ]
    if verdict.effect is not None:
        parts.append(f'<p class="effect">{escape(str(verdict.effect))}</p>')
    parts.append(f"<p>{escape(verdict.reading)}</p>")
    if verdict.missing:
        parts.append(f"<p><b>Missing:</b> {escape('; '.join(verdict.missing))}.</p>")
    if picture is not None:
        data = base64.b64encode(picture).decode()
        parts.append(f'<img alt="{escape(verdict.title)}" src="data:image/png;base64,{data}">')
    if verdict.rows:
        parts.append(f"<details><summary>the numbers</summary>{_rows(verdict)}</details>")
    return "\n".join(parts)


def _rows(verdict: Verdict) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in verdict.rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row.values())}</tr>"
        for row in verdict.rows
    )
    return f'<div class="wide"><table><tr>{heads}</tr>{body}</table></div>'


def _badge(answer: Answer) -> str:
    return f'<span class="{BADGES[answer]}">{answer}</span>'


def _effect(verdict: Verdict) -> str:
    return "–" if verdict.effect is None else str(verdict.effect)


def _summary_row(verdict: Verdict) -> dict[str, str]:
    return {
        "claim": f"{verdict.number}. {verdict.title}",
        "answer": str(verdict.answer),
        "effect (95 % interval)": _effect(verdict),
    }


def _table(rows: Sequence[dict[str, str]]) -> list[str]:
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    return lines + [
        f"| {' | '.join(cell.replace('|', '/') for cell in row.values())} |" for row in rows
    ]
