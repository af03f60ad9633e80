"""The other splits of a file or a folder, by its name and those beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from objectives.data.inspection.names import SPLIT_NAMES


def split_of(name: str) -> str | None:
    """The split that a name says, such as ``train`` of ``my-train.csv``; None where it says none,
    or several."""
    parts = set(re.split(r"[^a-z]+", name.lower()))
    found = [split for split, names in SPLIT_NAMES.items() if parts & {*names}]
    return found[0] if len(found) == 1 else None


def siblings(path: Path) -> tuple[dict[str, Path], list[str]]:
    """The splits that a file belongs to, by their names.

    A file that is not named as one to train on stands alone, so that nothing is trained on that a
    person did not name.

    Returns:
        The file of each split, ``train`` being the given one; and what was decided between several.
    """
    found, notes = {"train": path}, list[str]()
    if split_of(path.name) != "train":
        return found, notes
    beside = [each for each in sorted(path.parent.iterdir()) if each.is_file() == path.is_file()]
    for split in ("validation", "test"):
        others = [each for each in beside if _is_split(each.name, path.name, split)]
        if others:
            # That with the shortest name is the whole one.
            found[split] = min(others, key=lambda each: (len(each.name), each.name))
        if len(others) > 1:
            rest = ", ".join(each.name for each in others if each != found[split])
            notes.append(f"{split} is {found[split].name}; another one could be {rest}")
    return found, notes


def splits_among(paths: Iterable[Path]) -> Mapping[str, Path]:
    """The splits among files or folders that are named as such; empty without one to train on."""
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda each: (len(each.name), each.name)):
        split = split_of(path.name)
        if split is not None:
            found.setdefault(split, path)
    return found if "train" in found else {}


def _is_split(name: str, train: str, split: str) -> bool:
    """Whether a name is that of the file to train on, with another split in it."""
    if split_of(name) != split or _ending(name) != _ending(train):
        return False
    rest = [word for word in re.split(r"[^A-Za-z]+", train.lower()) if split_of(word) is None]
    words = re.split(r"[^A-Za-z]+", name.lower())
    return all(word in words for word in rest)


def _ending(name: str) -> str:
    return name.lower()[name.find(".") :] if "." in name else ""
