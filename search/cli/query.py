"""Commands that query a study, directly or through a service."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from search.cli.options import (
    NOTHING_FOUND,
    as_json,
    limited,
    make_console,
    open_queries,
    open_study,
    server,
    study_url,
    study_url_or_default,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

STATES = "running, complete, failed, or the state of a failure"
ORDERS = ("number", "-number", "score", "-score", "size_mb", "latency_ms", "flops")


@click.command("list")
@study_url
@server
@as_json
def list_searches(url: str | None, server: str | None, as_json: bool) -> None:
    """List all searches and their progress."""
    from search.cli.output import print_summaries

    rows = open_queries(url, server).searches()
    if as_json:
        _print_json(rows)
        return
    print_summaries(rows, make_console())


@click.command()
@click.argument("name")
@click.argument("trial", required=False, type=click.IntRange(min=0))
@study_url
@server
@as_json
def show(name: str, trial: int | None, url: str | None, server: str | None, as_json: bool) -> None:
    """Show the search NAME, or one TRIAL with the conditions of each number."""
    from search.cli.output import print_search
    from search.cli.tables import trial_table

    queries = open_queries(url, server)
    if trial is not None:
        details = queries.trial(name, trial)
        if as_json:
            _print_json(details)
        else:
            make_console().print(trial_table(details), highlight=False)
        return
    description = queries.search(name)
    if as_json:
        _print_json(description)
        return
    print_search(description, queries.frontier(name), make_console())


@click.command()
@click.argument("name")
@click.option("--state", help=f"Only trials in this state: {STATES}.")
@click.option("--on-frontier", is_flag=True, help="Only the trials on the frontier.")
@limited
@click.option(
    "--order",
    type=click.Choice(ORDERS),
    default="number",
    show_default=True,
    help="score: best first; - reverses the order.",
)
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Trials to skip.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=100,
    show_default=True,
    help="Largest page.",
)
@study_url
@server
@as_json
def trials(
    name: str,
    state: str | None,
    on_frontier: bool,
    limits: dict[str, float],
    order: Any,
    offset: int,
    limit: int,
    url: str | None,
    server: str | None,
    as_json: bool,
) -> None:
    """List the trials of the search NAME, in pages."""
    from search.cli.output import print_trials

    page = open_queries(url, server).trials(
        name,
        state=state,
        on_frontier=on_frontier,
        limits=limits,
        order=order,
        offset=offset,
        limit=limit,
    )
    if as_json:
        _print_json(page)
        return
    print_trials(page, make_console())


@click.command()
@click.argument("name")
@study_url
@server
@as_json
def frontier(name: str, url: str | None, server: str | None, as_json: bool) -> int:
    """Show the frontier of the search NAME: trials that no other trial beats on score and cost."""
    from search.cli.output import print_frontier

    members = open_queries(url, server).frontier(name)
    if as_json:
        _print_json(members)
    elif members:
        print_frontier(members, make_console())
    else:
        click.echo(f"search {name!r} has no feasible complete trial yet", err=True)
    return 0 if members else NOTHING_FOUND


@click.command()
@click.argument("name")
@limited
@study_url
@server
@as_json
def best(
    name: str,
    limits: dict[str, float],
    url: str | None,
    server: str | None,
    as_json: bool,
) -> int:
    """Show the best model of the search NAME within limits.

    Scores are on the validation split. If no model meets the limits, the command shows the nearest
    one and by how much it exceeds them, and exits with code 3.
    """
    from search.cli.output import print_best

    found = open_queries(url, server).best(name, limits)
    if as_json:
        _print_json(found)
    else:
        print_best(name, found, make_console())
    return 0 if found.is_within else NOTHING_FOUND


@click.command()
@click.argument("name")
@study_url
@server
@as_json
def levels(name: str, url: str | None, server: str | None, as_json: bool) -> None:
    """Show the best score of the search NAME at each of five fixed inference costs."""
    from search.cli.tables import levels_table

    rows = open_queries(url, server).levels(name)
    if as_json:
        _print_json(rows)
        return
    make_console().print(levels_table(rows))


@click.command("what-if")
@click.argument("name")
@click.argument("values", nargs=-1, metavar="DIMENSION=VALUE...")
@study_url
@server
@as_json
def what_if(
    name: str, values: tuple[str, ...], url: str | None, server: str | None, as_json: bool
) -> None:
    """Predict the score of a configuration without training it.

    The prediction comes from the surrogate of the frontier sampler, fitted to the trials of NAME.

    \b
      tlc what-if default depth=2 width=128 budget=800 quantisation=rtn-4 sparsity=0
    """
    from search.cli.output import print_prediction
    from spaces.loading import parse_values

    prediction = open_queries(url, server).what_if(name, parse_values(values))
    if as_json:
        _print_json(prediction)
        return
    print_prediction(name, prediction, make_console())


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--complete", is_flag=True, help="First run the trials that the claims need.")
@study_url
@as_json
def claims(names: tuple[str, ...], complete: bool, url: str | None, as_json: bool) -> None:
    """Test the claims of Train Large, Then Compress on the trials of the search NAME.

    Several searches that differ only in their seed are pooled. The verdict on each claim is
    supported, contradicted, or undecided; the report is an HTML and a Markdown page with plots.
    """
    from search.analysis.claims.report import print_claims, write_claims

    studies = [open_study(name, url) for name in dict.fromkeys(names)]
    if complete:
        from search.analysis.claims.missing_trials import run_missing_trials
        from search.cli.progress import Progress

        progress = Progress(make_console(stderr=as_json))
        study_at = study_url_or_default(url)
        studies = [run_missing_trials(study, study_at, progress) for study in studies]
    made = write_claims(studies)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    print_claims(made, make_console())


def _print_json(result: BaseModel | Sequence[BaseModel]) -> None:
    plain = (
        [each.model_dump(mode="json") for each in result]
        if isinstance(result, Sequence)
        else result.model_dump(mode="json")
    )
    click.echo(json.dumps(plain, indent=2))
