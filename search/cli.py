"""The command line: ``tlc``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from spaces.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from search.study import Study

NOTHING_FOUND = 3
INTERRUPTED = 130
WIDE = 160

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
study_url = click.option(
    "--study",
    "url",
    envvar="TLC_STUDY",
    metavar="URL",
    help="SQLAlchemy URL of the study; default: study.db in TLC_HOME (or .tlc).",
)
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a field of the file, such as --set space.depth.high=8. Repeatable.",
)


def main() -> NoReturn:
    """Run the command line; a person's mistake ends with a message and exit code 2."""
    try:
        code = cli.main(standalone_mode=False)
    except UserError as error:
        click.echo("\n".join(f"error: {line}" for line in str(error).splitlines()), err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; the same command goes on where it was", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tlc-search", prog_name="tlc")
def cli() -> None:
    """Train large, then compress: find the best model at a fixed inference cost.

    A search file names the data, the space (depth, width, training budget, compression) and the
    constraints. tlc trains, compresses and measures configurations on Ray Tune, lets Optuna choose
    them, tracks them in MLflow, and answers with the score-against-cost frontier.

    \b
      tlc plan default                    what a search would cost, in seconds
      tlc run default                     run it (again: go on where it stopped)
      tlc best default --max-size-mb 0.5  the most accurate model within a limit
      tlc ui                              look at it in MLflow
    """


@cli.command()
@click.argument("file")
@overrides
@click.option("--address", help="Address of a running Ray cluster; default: start Ray here.")
def run(file: str, overrides: tuple[str, ...], address: str | None) -> int:
    """Run the search in FILE, a path or the name of a ready-made one.

    Killed and started again it goes on: finished trials stay, training continues from the last
    checkpoint. Ctrl-C stops it; what is finished is kept.
    """
    from search.report import print_outcome
    from spaces.loading import load

    search = load(file, [*overrides, *([f"address={address}"] if address else [])])
    terminal = console()
    terminal.print(f"search {search.name}: {search.trials} trials, sampler {search.sampler}")

    from search.runner import run as run_search

    outcome = run_search(search, terminal)
    print_outcome(outcome, terminal)
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if any(record.is_complete for record in outcome.study.records()) else 1


@cli.command()
@click.argument("file")
@overrides
@as_json
def plan(file: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Show what the search in FILE would cost, without training anything."""
    from dataclasses import asdict

    from search.report import print_plan
    from spaces.loading import load
    from spaces.plan import make_plan
    from spaces.search_space import SearchSpace

    search = load(file, overrides)
    made = make_plan(SearchSpace(search))
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    print_plan(made, search, console())


@cli.command()
def schema() -> None:
    """Print the JSON schema of search files, for editors."""
    from spaces.search_file import SearchFile

    click.echo(json.dumps(SearchFile.model_json_schema(), indent=2))


@cli.command("list")
@study_url
@as_json
def list_searches(url: str | None, as_json: bool) -> None:
    """List all searches and how far they are."""
    from search.queries import summaries
    from search.report import print_summaries

    rows = summaries(_url(url))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    print_summaries(rows, console())


@cli.command()
@click.argument("name")
@click.argument("trial", required=False, type=click.IntRange(min=0))
@study_url
@as_json
def show(name: str, trial: int | None, url: str | None, as_json: bool) -> None:
    """Show the search NAME, or one TRIAL of it, with every number and its conditions."""
    from search.queries import describe_search, describe_trial
    from search.report import print_search, print_trial

    study = _study(name, url)
    if trial is None:
        description = describe_search(study)
        if not as_json:
            print_search(study, description, console())
            return
    else:
        description = describe_trial(study, trial)
        if not as_json:
            print_trial(study, trial, console())
            return
    click.echo(json.dumps(description, indent=2))


@cli.command()
@click.argument("name")
@study_url
@as_json
def frontier(name: str, url: str | None, as_json: bool) -> int:
    """Show the frontier of the search NAME: the trials that no other beats."""
    from search import frontier as frontiers
    from search.tables import frontier_rows, frontier_table

    study = _study(name, url)
    members = frontiers.frontier(study.records(), study.search)
    tests = study.tests()
    if as_json:
        click.echo(json.dumps(frontier_rows(members, tests), indent=2))
    elif members:
        console().print(frontier_table(members, tests, study.search.metric))
    else:
        click.echo(f"search {name!r} has no feasible complete trial yet", err=True)
    return 0 if members else NOTHING_FOUND


@cli.command()
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
    from search.report import print_best

    study = _study(name, url)
    limits = {"size_mb": max_size_mb, "latency_ms": max_latency_ms, "flops": max_flops}
    answer = best_within(study, {cost: limit for cost, limit in limits.items() if limit})
    if as_json:
        click.echo(json.dumps(answer.to_dict(), indent=2))
    else:
        print_best(study, answer, console())
    return 0 if answer.is_within else NOTHING_FOUND


@cli.command()
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

    studies = [_study(name, url) for name in dict.fromkeys(names)]
    if complete:
        from search.claims.complete import complete as run_missing

        told = Console(stderr=True) if as_json else console()
        studies = [run_missing(study, told) for study in studies]
    made = report(studies)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    print_report(made, console())


@cli.command()
@click.option("--port", default=5000, show_default=True, type=click.IntRange(1, 65535))
@study_url
def ui(port: int, url: str | None) -> None:
    """Start the MLflow UI on this machine (loopback only), or name the server that is set.

    Sends first whatever MLflow missed while it was away.
    """
    from search.tracking import mirror_all
    from spaces.places import places
    from spaces.search_file import Storage

    where = places(Storage())
    mirror_all(_url(url), where)
    if where.tracking_uri.startswith(("http://", "https://")):
        click.echo(f"MLflow UI: {where.tracking_uri}")
        return
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", where.tracking_uri,
        "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--allowed-hosts", f"127.0.0.1:{port},localhost:{port}",
    ]  # fmt: skip
    if where.artifacts is not None:
        command += ["--default-artifact-root", where.artifacts.as_uri()]
    click.echo(f"MLflow UI: http://127.0.0.1:{port}  (Ctrl-C stops it)")
    # Its job runner would start eight more processes.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, environment)


@cli.command()
@click.argument("name")
@study_url
def table(name: str, url: str | None) -> int:
    """Print the search NAME as a table (CSV) that tlc replay reads, a row for each complete trial.

    \b
      tlc table default > default.csv
    """
    from search.export import write_table

    return 0 if write_table(_study(name, url), sys.stdout) else NOTHING_FOUND


@cli.command()
@click.argument("path", metavar="TABLE", type=click.Path(path_type=Path))
@click.option(
    "--sampler",
    "samplers",
    multiple=True,
    type=click.Choice(["frontier", "tpe", "nsgaii", "gp", "random", "oracle"]),
    default=["frontier"],
    show_default=True,
    help="Repeatable. oracle knows the table: the greedy bound.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option(
    "--sharing/--scratch",
    default=True,
    show_default=True,
    help="Train only what no earlier trial has trained, or each trial from the beginning.",
)
@click.option(
    "--until",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.99,
    show_default=True,
    help="Stop at this share of the table's hypervolume.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for replay.json and .png.")
@as_json
def replay(
    path: Path,
    samplers: tuple[str, ...],
    seeds: int,
    workers: int,
    sharing: bool,
    until: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Replay samplers against a recorded TABLE (CSV, or CSV.GZ) in simulated time.

    Every trial takes the seconds that the table says, and the figures are the seconds until a
    share of the table's hypervolume (accuracy against log10 of bytes; the reference point is the
    lowest accuracy and the largest size) was reached: the median and the quartiles over the seeds.
    """
    from search import replay_report
    from search.choosers import replays
    from search.table import Table

    recorded = Table.read(path)
    summaries = []
    for sampler in samplers:
        with console().status(f"{sampler}, {seeds} seeds"):
            summaries.append(
                replays(
                    recorded, sampler, seeds=seeds, workers=workers, sharing=sharing, until=until
                )
            )
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        replay_report.write_json(recorded, summaries, out / "replay.json")
        replay_report.draw(recorded, summaries, out / "replay.png")
    if as_json:
        click.echo(json.dumps(replay_report.describe(recorded, summaries), indent=2))
        return
    replay_report.print_summaries(recorded, summaries, console())


def console() -> Console:
    """The terminal; where there is none, wide enough that no table is cut."""
    from rich.console import Console

    made = Console()
    return made if made.is_terminal else Console(width=WIDE)


def _url(url: str | None) -> str:
    from spaces.places import places
    from spaces.search_file import Storage

    return url or places(Storage()).study_url


def _study(name: str, url: str | None) -> Study:
    from search.study import Study

    return Study.load(name, _url(url))


if __name__ == "__main__":
    main()
