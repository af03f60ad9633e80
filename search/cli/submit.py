"""Commands that run a search in the background or on a cluster, and follow it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from search.cli.options import (
    NODE_ADDRESS,
    make_console,
    open_client,
    open_study,
    overrides,
    server,
    study_url,
    study_url_or_default,
)
from search.terminal_safe import printable

if TYPE_CHECKING:
    from search.results.client import Client
    from search.results.schemas import Started
    from search.submission.local import Launcher

Command = TypeVar("Command", bound=Callable[..., Any])

address = click.option(
    "--address",
    envvar="RAY_API_SERVER_ADDRESS",
    show_envvar=True,
    metavar="URL",
    help="Dashboard of a Ray cluster, such as http://HEAD:8265; default: this machine.",
)


def located(command: Command) -> Command:
    """Add the options that tell where a search runs: on a cluster, here, or at a service."""
    return address(study_url(server(command)))


@click.command()
@click.argument("file")
@overrides
@address
@server
@click.option(
    "--requirements/--no-requirements",
    default=True,
    help="Install the requirements of tlc on the nodes, or only its code.",
)
def submit(
    file: str,
    overrides: tuple[str, ...],
    address: str | None,
    server: str | None,
    requirements: bool,
) -> None:
    """Start the search in FILE in the background, and print its name.

    On a Ray cluster, every node first checks whether it can reach the store, the study and the
    data. Ray's token authentication (RAY_AUTH_MODE=token) is supported.

    \b
      tlc submit search.yaml --address http://HEAD:8265
      tlc logs NAME -f --address http://HEAD:8265
    """
    from spaces.loading import load

    search = load(file, overrides)
    if server is not None:
        document = search.model_dump(mode="json", exclude_unset=True)
        client = open_client(server)
        job = _started(client, client.submit(document))
    else:
        job = launcher_at(address, None, with_requirements=requirements).start(search)
    _print_started(search.name, job, address, server)


@click.command()
@click.argument("name")
@located
def resume(name: str, address: str | None, url: str | None, server: str | None) -> None:
    """Resume the search NAME in the background, with the search file that its study holds."""
    if server is not None:
        client = open_client(server)
        job = _started(client, client.resume(name))
    else:
        job = launcher_at(address, url).start(open_study(name, url).search)
    _print_started(name, job, address, server)


@click.command()
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Follow until the search ends.")
@located
def logs(name: str, follow: bool, address: str | None, url: str | None, server: str | None) -> None:
    """Print the log of the submitted search NAME; with --server, its trials as they finish."""
    if server is not None:
        from search.cli.printing.output import print_event, print_trials

        client, console = open_client(server), make_console()
        if not follow:
            print_trials(client.trials(name, limit=1000), console)
            return
        for event in client.events(name):
            print_event(event, console)
        return
    for text in launcher_at(address, url).logs(name, follow=follow):
        click.echo(printable(text), nl=False)


@click.command()
@click.argument("name")
@located
def status(name: str, address: str | None, url: str | None, server: str | None) -> None:
    """Print the state of the submitted search NAME."""
    if server is not None:
        click.echo(open_client(server).search(name).state)
        return
    click.echo(launcher_at(address, url).status(name))


@click.command()
@click.argument("name")
@located
def stop(name: str, address: str | None, url: str | None, server: str | None) -> None:
    """Stop the search NAME; finished trials are kept, and tlc resume continues it."""
    if server is not None:
        open_client(server).stop(name)
    else:
        launcher_at(address, url).stop(name)
    click.echo(f"search {name!r} is stopping")


@click.command()
@click.argument("file")
@overrides
@click.option("--address", required=True, metavar="ADDRESS", help=f"{NODE_ADDRESS}.")
def check(file: str, overrides: tuple[str, ...], address: str) -> None:
    """Check that every node of a Ray cluster can reach what the search in FILE needs."""
    from spaces.loading import load

    search = load(file, [*overrides, f"address={address}"])

    from search.execution.node_checks import check_cluster

    count = check_cluster(search)
    make_console().print(f"{count} nodes can reach everything that search {search.name} needs")


def launcher_at(
    address: str | None, url: str | None, *, with_requirements: bool = True
) -> Launcher:
    """The launcher of the cluster at an address, or of this machine."""
    if address is None:
        from search.submission.local import LocalProcesses

        return LocalProcesses(study_url_or_default(url))
    from search.submission.ray_jobs import RayJobs

    return RayJobs(address, with_requirements=with_requirements)


def _started(client: Client, submitted: Started) -> str:
    """Wait until a service has started what was submitted; returns its state.

    An interruption of the wait ends nothing: the service starts it.

    Raises:
        LaunchError: It failed to start.
    """
    from search.submission.local import POLL_SECONDS, LaunchError

    while (search := client.search(submitted.name)).state in ("submitted", "starting"):
        time.sleep(POLL_SECONDS)
    if search.state == "failed to start":
        raise LaunchError(search.ended)
    return search.state


def _print_started(name: str, job: str, address: str | None, server: str | None) -> None:
    options = {"--address": address, "--server": server}
    given = (f" {option} {value}" for option, value in options.items() if value is not None)
    click.echo(name)
    click.echo(f"{job}; tlc logs {name} -f{next(given, '')} follows it", err=True)
