"""Options that several commands share, and the studies and services that they open."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from spaces.cost.inference_cost import COSTS

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

    from search.maintenance.searches import Searches
    from search.results.client import Client
    from search.results.functions import FunctionQueries
    from search.results.queries import StudyQueries
    from search.results.schemas import Best, TrialPage
    from search.storage.study import Study

NOTHING_FOUND = 3
INTERRUPTED = 130

NODE_ADDRESS = "HOST:PORT, or auto, of a Ray cluster that this machine is a node of"
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
study_url = click.option(
    "--study",
    "url",
    envvar="TLC_STUDY",
    show_envvar=True,
    metavar="URL",
    help="SQLAlchemy URL of the study; default: study.db in TLC_HOME (or .tlc).",
)


def _server_unless_overridden(
    context: click.Context, _: click.Parameter, server: str | None
) -> str | None:
    """The service, unless it comes from the environment and the command line names a study."""
    # click evaluates options of the command line before those of the environment.
    if context.get_parameter_source("server") is ParameterSource.COMMANDLINE:
        return server
    others = (context.get_parameter_source(option) for option in ("url", "address"))
    return None if ParameterSource.COMMANDLINE in others else server


server = click.option(
    "--server",
    envvar="TLC_SERVER",
    show_envvar=True,
    callback=_server_unless_overridden,
    metavar="URL",
    help="Use the service (tlc serve) at this URL; TLC_TOKEN holds its token.",
)


def refusing_server(command: click.Command) -> click.Command:
    """Refuse ``--server`` where a command on studies has none, and say why."""
    names = {parameter.name for parameter in command.params}
    if "url" in names and "server" not in names:
        option = click.Option(
            ["--server"], expose_value=False, hidden=True, callback=_refuse_server
        )
        command.params.append(option)
    return command


def _refuse_server(context: click.Context, _: click.Parameter, given: str | None) -> None:
    if given is not None:
        raise click.UsageError(
            f"--server: tlc {context.info_name} reads the study and the store itself; run it on a "
            "machine that reaches them, with --study"
        )


overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Override a field of the file, such as --set space.depth.high=8. Repeatable.",
)


def limited(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that limit costs, passed as one argument ``limits``."""

    @wraps(command)
    def with_limits(**given: Any) -> Any:
        limits = {name: given.pop(cost.constraint) for name, cost in COSTS.items()}
        for name, limit in limits.items():
            # No comparison with NaN holds, so that it is in click's range.
            if limit is not None and math.isnan(limit):
                raise click.BadParameter("nan is no number.", param_hint=COSTS[name].option)
        return command(limits={name: limit for name, limit in limits.items() if limit}, **given)

    positive = click.FloatRange(min=1e-9, max=1e30)
    for cost in reversed(COSTS.values()):
        click.option(cost.option, type=positive, help=cost.limit)(with_limits)
    return with_limits


@dataclass(frozen=True)
class Source:
    """Where a query goes, and how its result is printed.

    Args:
        url: URL of the study; None for the local study.
        server: URL of a service that answers instead.
        as_json: Whether to print JSON.
    """

    url: str | None
    server: str | None
    as_json: bool

    @property
    def queries(self) -> StudyQueries | Client:
        """Queries to the service, or to the study."""
        return open_client(self.server) if self.server is not None else open_queries(self.url)

    def best(self, name: str, limits: Mapping[str, float]) -> Best:
        """The best model of a search within limits by cost, or the nearest."""
        if self.server is not None:
            return open_client(self.server).best(name, **_as_constraints(limits))
        return open_queries(self.url).best(name, limits)

    def trials(self, name: str, limits: Mapping[str, float], **page: Any) -> TrialPage:
        """A page of the trials of a search within limits by cost."""
        if self.server is not None:
            return open_client(self.server).trials(name, **page, **_as_constraints(limits))
        return open_queries(self.url).trials(name, limits=limits, **page)

    def function(self, name: str) -> FunctionQueries | None:
        """Queries over a search with a function; None where there is none of this name, and over
        a service, which has none."""
        from search.cli.printing.functions import function_queries

        if self.server is not None:
            return None
        return function_queries(name, study_url_or_default(self.url))

    def show(
        self, result: BaseModel | Sequence[BaseModel], print_text: Callable[[Console], None]
    ) -> None:
        """Print a result as JSON, or as text with ``print_text``."""
        if not self.as_json:
            print_text(make_console())
            return
        from pydantic_core import to_jsonable_python

        click.echo(json.dumps(to_jsonable_python(result), indent=2))


def _as_constraints(limits: Mapping[str, float]) -> dict[str, Any]:
    """Limits by cost as limits by the fields of a search file."""
    return {COSTS[name].constraint: limit for name, limit in limits.items()}


def queried(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a query, passed as one argument ``source``."""

    @study_url
    @server
    @as_json
    @wraps(command)
    def with_source(url: str | None, server: str | None, as_json: bool, **rest: Any) -> Any:
        return command(source=Source(url, server, as_json), **rest)

    return with_source


def make_console(*, stderr: bool = False) -> Console:
    """The console for the output of a command."""
    from search.cli.printing.console import WIDE, PlainConsole

    console = PlainConsole(stderr=stderr)
    return console if console.is_terminal else PlainConsole(stderr=stderr, width=WIDE)


def study_url_or_default(url: str | None) -> str:
    """The given URL of the study, or that of the local study."""
    from spaces.file.storage import Locations, Storage

    return url or Locations.of(Storage()).study_url


def open_queries(url: str | None) -> StudyQueries:
    """Queries to the study."""
    from search.results.queries import StudyQueries

    return StudyQueries(study_url_or_default(url))


def open_client(server: str) -> Client:
    """A client of the service at a URL."""
    from search.results.client import Client

    return Client(server, token=os.environ.get("TLC_TOKEN"))


def open_searches(url: str | None, server: str | None) -> Searches | Client:
    """What deletes and renames searches: here, or the service at a URL."""
    if server is not None:
        return open_client(server)
    from search.maintenance.searches import Searches

    return Searches(study_url_or_default(url))


def open_study(name: str, url: str | None) -> Study:
    """The study of a search.

    Raises:
        StudyError: There is none of this name.
    """
    from search.storage.study import Study

    return Study.load(name, study_url_or_default(url))
