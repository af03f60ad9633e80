"""The search file for data that a person named on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from objectives.data.inspection.discovery import is_data, is_data_set
from search.proposal.machine import this_machine
from search.proposal.proposal import Proposal, propose, search_name
from spaces.errors import UserError
from spaces.file.storage import Locations, Storage, home
from spaces.loading import SearchLike, load, ready_made


def search_file(names: Sequence[str], console: Console) -> str:
    """The search file that some arguments name: itself, or one that is written for data now.

    A file that was written for the same data before is used as it is, so that the same command
    resumes its search.

    Raises:
        UserError: The arguments name no search and no data, or a file of that name is of other
            data.
    """
    found = named_search(names)
    return found if found is not None else str(write_search_file(names, _place(names), console))


def search_like(names: Sequence[str], console: Console) -> SearchLike:
    """The same, but what is made for data is not written."""
    found = named_search(names)
    return found if found is not None else _proposed(names, _place(names), console).document


def named_search(names: Sequence[str]) -> str | None:
    """The search file that some arguments name, or the one that was written for them before; None
    where they name data without one.

    Raises:
        UserError: A file of that name is of other data.
    """
    if len(names) == 1 and not names_data(names[0]):
        return names[0]
    path = _place(names)
    if not path.exists():
        return None
    _check_same(path, names)
    return str(path)


def write_search_file(
    names: Sequence[str], path: Path, console: Console, checkpoint: str | None = None
) -> Path:
    """Look at data, write a search file for it, and say what was found.

    Args:
        checkpoint: What its models start from; random weights by default.

    Raises:
        UserError: The data or the checkpoint cannot be read, or the file cannot be written.
    """
    proposal = _proposed(names, path, console, checkpoint)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(proposal.text)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error}") from error
    task = proposal.document["task"]["name"]
    console.print(f"{shown(path)}: a search file for {task}; change it as you like")
    return path


def _proposed(
    names: Sequence[str], path: Path, console: Console, checkpoint: str | None = None
) -> Proposal:
    """A search for data, and on the console what was found."""
    names = [_for_file(name, path) for name in names]
    console.print(f"looking at {', '.join(names)} …", style="dim")
    if checkpoint is not None:
        checkpoint = _for_file(checkpoint, path)
    proposal = propose(names, Locations.of(Storage()).data, this_machine(), checkpoint)
    for note in proposal.notes:
        console.print(f"  {note}", soft_wrap=True)
    return proposal


def place_of(names: Sequence[str]) -> Path:
    """Where the search file of some data is to be written, which must not exist.

    Raises:
        UserError: It exists.
    """
    path = _place(names)
    if path.exists() or path.is_symlink():
        raise UserError(f"{shown(path)} exists already; run it, or remove it")
    return path


def names_data(name: str) -> bool:
    """Whether an argument names data, and no search: what exists is meant before the Hub."""
    if name in ready_made():
        return False
    return is_data(name) or is_data_set(name)


def _place(names: Sequence[str]) -> Path:
    """The current folder; where nothing can be written there, that of everything local."""
    file = f"{search_name(names)}.yaml"
    if os.access(Path.cwd(), os.W_OK):
        return Path.cwd() / file
    return home() / "searches" / file


def _for_file(name: str, path: Path) -> str:
    """A name as it stands in a search file: paths of one that is elsewhere are absolute."""
    is_here = path.parent == Path.cwd() or not Path(name).exists()
    return name if is_here else str(Path(name).absolute())


def _check_same(path: Path, names: Sequence[str]) -> None:
    search = load(str(path))
    inputs = [Path(each).absolute() for _, each in search.local_paths()]
    sets = [
        source.dataset
        for field in type(search.data).model_fields
        if hasattr(source := getattr(search.data, field), "dataset")
    ]
    for name in names:
        given = Path(name).absolute()
        if name not in sets and not any(each.is_relative_to(given) for each in inputs):
            raise UserError(
                f"{shown(path)} exists already, and is of other data than {name}; rename or "
                "remove it"
            )


def shown(path: Path) -> str:
    """A path as a person types it here."""
    return path.name if path.parent == Path.cwd() else str(path)
