"""Commands on the models of a search: export and register them, and write its report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from search.cli.options import (
    NOTHING_FOUND,
    limited,
    make_console,
    open_queries,
    open_study,
    study_url,
    study_url_or_default,
)
from search.formatting import cost_summary

if TYPE_CHECKING:
    from rich.console import Console

    from search.registry.export import ExportedModel
    from search.registry.registry import Registration
    from search.storage.study import Study
    from search.storage.trials import TrialRecord


@click.command()
@click.argument("name")
@limited
@click.option("--trial", type=click.IntRange(min=0), help="Export the model of this trial.")
@click.option(
    "--frontier",
    "whole_frontier",
    is_flag=True,
    help="Export every model of the frontier, into folders trial-N.",
)
@click.option(
    "--to", required=True, type=click.Path(path_type=Path), metavar="DIR", help="Folder to create."
)
@click.option("--onnx", "with_onnx", is_flag=True, help="Also write model.onnx, and verify it.")
@click.option(
    "--examples",
    "with_examples",
    is_flag=True,
    help="Also write evaluation.jsonl, the validation examples.",
)
@study_url
def export(
    name: str,
    limits: dict[str, float],
    trial: int | None,
    whole_frontier: bool,
    to: Path,
    with_onnx: bool,
    with_examples: bool,
    url: str | None,
) -> int:
    """Export the best model of the search NAME within limits into a folder.

    The folder needs no tlc. transformers loads it; with --onnx, ONNX Runtime too. It holds a model
    card and a script that prints the output for an input, or the score on examples. If no model
    meets the limits, the command writes nothing and exits with code 3.
    """
    if trial is not None and limits:
        raise click.UsageError("give either --trial or limits, not both")
    if trial is not None and whole_frontier:
        raise click.UsageError("give either --trial or --frontier, not both")
    study = open_study(name, url)
    if whole_frontier:
        from search.analysis.runtime_costs import frontier_within

        chosen = [(each, to / f"trial-{each.number}") for each in frontier_within(study, limits)]
        if not chosen:
            click.echo(f"search {name!r} has no feasible complete trial within limits", err=True)
    else:
        record = _chosen(study, limits, trial, url)
        chosen = [] if record is None else [(record, to)]
    from search.registry.export import export as export_model

    for each, folder in chosen:
        with make_console().status("exporting"):
            made = export_model(
                study, each, folder, with_onnx=with_onnx, with_examples=with_examples
            )
        _print_export(study, each, made, make_console())
    return 0 if chosen else NOTHING_FOUND


@click.command()
@click.argument("name")
@limited
@click.option("--as", "model", required=True, metavar="MODEL_NAME", help="Name in the registry.")
@click.option("--onnx", "with_onnx", is_flag=True, help="Register models that run in ONNX Runtime.")
@study_url
def register(
    name: str, limits: dict[str, float], model: str, with_onnx: bool, url: str | None
) -> int:
    """Register the best model of the search NAME within limits in MLflow's Model Registry.

    The alias champion points to it. An alias for each fixed cost level, such as size-mb-0-12,
    points to the best model at that cost. A registered model is not registered again. If no model
    meets the limits, the command registers nothing and exits with code 3.
    """
    study = open_study(name, url)
    record = _chosen(study, limits, None, url)
    if record is None:
        return NOTHING_FOUND
    from search.registry.registry import register as register_models

    with make_console().status("registering"):
        made = register_models(study, record, model, with_onnx=with_onnx)
    _print_registration(study, made, make_console())
    return 0


@click.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of report.html; default: reports/NAME in TLC_HOME (or .tlc).",
)
@click.option("--no-errors", is_flag=True, help="Leave out what the best model gets wrong.")
@study_url
def report(name: str, folder: Path | None, no_errors: bool, url: str | None) -> None:
    """Write the report of the search NAME: one HTML page that needs no network.

    It shows the best model, the frontier, what the best model gets wrong on the validation split,
    on which it is run for that, the effect of each dimension, how trials shared training, and the
    use of compute. The page is also logged to the run of the search in MLflow.
    """
    from search.analysis.function_report import write_function_report
    from search.analysis.report.report import write_report
    from search.storage.function_study import FunctionStudy, has_function

    at = study_url_or_default(url)
    if has_function(name, at):
        made = write_function_report(FunctionStudy.load(name, at), folder)
    else:
        with make_console().status("writing"):
            made = write_report(open_study(name, url), folder, with_errors=not no_errors)
    click.echo(f"report: {made.path}")
    if not made.is_tracked:
        click.echo("not logged to MLflow: it is unreachable, or lacks the search (tlc ui sends it)")


def _chosen(
    study: Study, limits: dict[str, float], trial: int | None, url: str | None
) -> TrialRecord | None:
    """The trial with a number, or the best within limits; prints the nearest if there is none."""
    from search.cli.printing.output import print_best

    if trial is not None:
        from search.registry.export import complete_trial

        return complete_trial(study, trial)
    name = study.search.name
    found = open_queries(url).best(name, limits)
    if not found.is_within or found.trial is None:
        print_best(name, found, make_console())
        return None
    return study.record(found.trial.trial)


def _print_export(study: Study, record: TrialRecord, made: ExportedModel, console: Console) -> None:
    from objectives.export.bundle import SCRIPT

    console.print(_description(study, record), style="bold")
    folder = os.path.relpath(made.folder)
    console.print(f"{folder}: {', '.join(made.files)}", soft_wrap=True)
    checkpoint, onnx = made.bundle.checkpoint, made.bundle.onnx
    if checkpoint is not None:
        console.print(
            f"model.safetensors: {checkpoint.weights}, {checkpoint.size_bytes:,} bytes; "
            f"{checkpoint.comparison.compared:,} logits of transformers {checkpoint.comparison}",
            soft_wrap=True,
        )
    if onnx is not None:
        console.print(
            f"model.onnx: {onnx.weights}; {onnx.size_bytes:,} bytes; "
            f"{onnx.comparison.compared:,} logits of ONNX Runtime {onnx.comparison}",
            soft_wrap=True,
        )
    if SCRIPT in made.files:
        console.print(f"next: python {os.path.join(folder, SCRIPT)}", soft_wrap=True)
    else:
        console.print(f"next: {os.path.join(folder, 'README.md')} says how to load it")


def _print_registration(study: Study, made: Registration, console: Console) -> None:
    for version in made.versions:
        state = "registered" if version.is_new else "was registered before"
        console.print(
            f"{made.name} version {version.number} {state}: "
            f"{_description(study, study.record(version.trial))}",
            soft_wrap=True,
        )
        console.print(f"  {', '.join(version.aliases)}")
    uri = f"models:/{made.name}@champion"
    console.print(f"MLflow: {made.tracking_uri}", soft_wrap=True)
    console.print(f'load: mlflow.pyfunc.load_model("{uri}")', soft_wrap=True)


def _description(study: Study, record: TrialRecord) -> str:
    metric, result = study.search.metric, record.result
    return (
        f"#{record.number} {record.configuration}: {metric.name} {metric.text(result['score'])}, "
        f"{cost_summary(result, study.search.cost.name)}"
    )
