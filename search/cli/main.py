"""The command line: ``tlc``."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from search.cli import (
    answering,
    launching,
    models,
    replaying,
    reporting,
    searching,
    serving,
)
from search.cli.options import INTERRUPTED
from search.terminal_safe import printable
from spaces.errors import UserError


def main() -> NoReturn:
    """Run the command line; a person's mistake ends with a message and exit code 2."""
    try:
        code = cli.main(standalone_mode=False)
    except UserError as error:
        lines = printable(str(error)).splitlines()
        click.echo("\n".join(f"error: {line}" for line in lines), err=True)
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
      tlc plan default                    its sizes, FLOPs and steps, before any training
      tlc run default                     run it (again: go on where it stopped)
      tlc best default --max-size-mb 0.5  the most accurate model within a limit
      tlc ui                              look at it in MLflow
    """


for command in (
    searching.run,
    searching.plan,
    launching.submit,
    launching.logs,
    launching.status,
    launching.stop,
    launching.resume,
    launching.check,
    searching.schema,
    answering.list_searches,
    answering.show,
    answering.frontier,
    answering.best,
    answering.trials,
    answering.levels,
    answering.what_if,
    answering.claims,
    reporting.report,
    models.export,
    models.register,
    serving.ui,
    serving.serve,
    replaying.table,
    replaying.replay,
):
    cli.add_command(command)
