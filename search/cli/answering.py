"""Commands that answer from the study."""

from __future__ import annotations

import json

import click

from search.cli.options import (
    NOTHING_FOUND,
    as_json,
    make_console,
    open_study,
    study_url,
    study_url_or_default,
)


@click.command("list")
@study_url
@as_json
def list_searches(url: str | None, as_json: bool) -> None:
    """List all searches and how far they are."""
    from search.queries import summaries
    from search.terminal import print_summaries

    rows = summaries(study_url_or_default(url))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    print_summaries(rows, make_console())


@click.command()
@click.argument("name")
@click.argument("trial", required=False, type=click.IntRange(min=0))
@study_url
@as_json
def show(name: str, trial: int | None, url: str | None, as_json: bool) -> None:
    """Show the search NAME, or one TRIAL of it, with every number and its conditions."""
    from search.queries import describe_search, describe_trial
    from search.terminal import print_search, print_trial

    study = open_study(name, url)
    if trial is None:
        description = describe_search(study)
        if not as_json:
            print_search(study, description, make_console())
            return
    else:
        description = describe_trial(study, trial)
        if not as_json:
            print_trial(study, trial, make_console())
            return
    click.echo(json.dumps(description, indent=2))


@click.command()
@click.argument("name")
@study_url
@as_json
def frontier(name: str, url: str | None, as_json: bool) -> int:
    """Show the frontier of the search NAME: the trials that no other beats."""
    from search import frontier as frontiers
    from search.tables import frontier_rows, frontier_table

    study = open_study(name, url)
    members = frontiers.frontier(study.records(), study.search)
    tests = study.tests()
    if as_json:
        click.echo(json.dumps(frontier_rows(members, tests), indent=2))
    elif members:
        make_console().print(frontier_table(members, tests, study.search.metric))
    else:
        click.echo(f"search {name!r} has no feasible complete trial yet", err=True)
    return 0 if members else NOTHING_FOUND


@click.command()
@click.argument("name")
@click.option("--max-size-mb", type=click.FloatRange(min=0, min_open=True), help="Megabytes.")
@click.option("--max-latency-ms", type=click.FloatRange(min=0, min_open=True), help="Median, ms.")
@click.option("--max-flops", type=click.FloatRange(min=0, min_open=True), help="FLOPs a sequence.")
@study_url
@as_json
def best(
    name: str,
    max_size_mb: float | None,
    max_latency_ms: float | None,
    max_flops: float | None,
    url: str | None,
    as_json: bool,
) -> int:
    """Show the best model of the search NAME within limits.

    Scores are those on the validation split. When nothing meets the limits, the nearest model is
    shown with how much it misses, and the exit code is 3.
    """
    from search.queries import best_within
    from search.terminal import print_best

    study = open_study(name, url)
    limits = {"size_mb": max_size_mb, "latency_ms": max_latency_ms, "flops": max_flops}
    answer = best_within(study, {cost: limit for cost, limit in limits.items() if limit})
    if as_json:
        click.echo(json.dumps(answer.to_dict(), indent=2))
    else:
        print_best(study, answer, make_console())
    return 0 if answer.is_within else NOTHING_FOUND


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--complete", is_flag=True, help="Run the trials that the claims lack before.")
@study_url
@as_json
def claims(names: tuple[str, ...], complete: bool, url: str | None, as_json: bool) -> None:
    """Test the claims of Train Large, Then Compress on the trials of the search NAME.

    Several searches that differ in their seed alone are pooled. Each claim is supported,
    contradicted, or in want of trials; the report is a page (HTML and Markdown) with the plots.
    """
    from rich.console import Console

    from search.claims.report import print_report, report

    studies = [open_study(name, url) for name in dict.fromkeys(names)]
    if complete:
        from search.claims.complete import complete as run_missing

        told = Console(stderr=True) if as_json else make_console()
        studies = [run_missing(study, told) for study in studies]
    made = report(studies)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    print_report(made, make_console())
