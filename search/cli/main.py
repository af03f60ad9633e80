"""The command line: ``tlc``."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from search.cli import export, manage, measure, query, replay, run, serve, submit
from search.cli.data import commands
from search.cli.options import INTERRUPTED, refusing_server
from search.process_state import reach_loopback_directly
from search.terminal_safe import printable, write_what_can_be_encoded
from spaces.errors import UserError

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


def main() -> NoReturn:
    """Run the command line; a user error prints a message and exits with code 2."""
    write_what_can_be_encoded()
    reach_loopback_directly()
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
        click.echo("interrupted; run the same command to resume", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings=SETTINGS)
@click.version_option(package_name="tlc-search", prog_name="tlc")
def cli() -> None:
    """Train large, then compress: find the best model at a fixed inference cost.

    A search file names the data, the space (depth, width, training budget, compression) and the
    constraints. tlc trains, compresses and measures configurations on Ray Tune. Optuna chooses the
    configurations, MLflow tracks them, and the result is the frontier of score against cost.

    \b
      tlc run reviews.csv                 look at a file, write a search for it, and run it
      tlc plan default                    its sizes, FLOPs and steps, without training
      tlc run default                     run it, or resume it
      tlc best default --max-size-mb 0.5  the best model within a limit
      tlc ui                              open it in MLflow
    """


for module in (commands, export, manage, measure, query, replay, run, serve, submit):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            cli.add_command(refusing_server(command))
