"""From the paths that a person named to a task and its data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.inspection.finding import Finding, data_of
from objectives.data.inspection.folders import image_folder
from objectives.data.inspection.hub import hub_data_set
from objectives.data.inspection.names import LANGUAGES
from objectives.data.inspection.roles import Roles, roles_of
from objectives.data.inspection.running_text import aligned_files, plain_text
from objectives.data.inspection.samples import DELIMITED, JSON_LINES, Sample, sample_of
from objectives.data.inspection.siblings import siblings, splits_among
from spaces.file.inputs.tables import REPOSITORY

SEARCH_FILES = (".yaml", ".yml")
COMPRESSED = ".gz"


def is_data(name: str) -> bool:
    """Whether an argument names data, and no search file: a folder, or a file that is no YAML."""
    path = Path(name)
    return path.is_dir() or (path.is_file() and path.suffix.lower() not in SEARCH_FILES)


def is_data_set(name: str) -> bool:
    """Whether an argument is written as a data set of the Hub, and is no path of this machine."""
    path = Path(name)
    return (
        re.fullmatch(REPOSITORY, name) is not None
        and "/" in name
        and not path.exists()
        and not path.parent.is_dir()
        and path.suffix.lower() not in SEARCH_FILES
    )


def _is_checkpoint(path: Path) -> bool:
    """Whether a folder holds a checkpoint of transformers."""
    return (path / "config.json").is_file() and any(path.glob("*.safetensors"))


def find(names: Sequence[str], cache: Path) -> Finding:
    """The task and the data that some arguments name.

    Args:
        names: A file, a folder or a data set of the Hub; or two files that match line by line.
        cache: Folder for what ``datasets`` downloads.

    Raises:
        DataError: There is none, or its form is none that tlc reads.
    """
    if len(names) > 2:
        raise DataError(f"{' '.join(names)}: give one file or folder, or two aligned files")
    paths = [Path(name) for name in names]
    if len(paths) == 2:
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path}: no such file; two files must match line by line")
        return aligned_files(paths)
    (path,) = paths
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    if is_data_set(names[0]):
        return hub_data_set(names[0], cache)
    raise DataError(f"{names[0]}: no such file or folder")


def _folder(folder: Path) -> Finding:
    if _is_checkpoint(folder):
        raise DataError(
            f"{folder}: is a checkpoint of transformers, and no data; give the data, and this "
            f"folder as what models start from: tlc init DATA --checkpoint {folder}"
        )
    if (images := image_folder(folder)) is not None:
        return images
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and _may_be_data(path)]
    splits = splits_among(files)
    if splits:
        return _file(splits["train"])
    if len(files) == 1:
        return _file(files[0])
    stems = {path.name.split(".")[0] for path in files}
    if len(files) == 2 and len(stems) == 1:
        return aligned_files(files)
    names = ", ".join(path.name for path in files[:8])
    found = f"its files are {names}" if files else "it holds no images and no tables"
    raise DataError(
        f"{folder}: {found}; name the file to train on, or give train, validation and test in "
        "their names"
    )


def _may_be_data(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != COMPRESSED]
    known = (*DELIMITED, *JSON_LINES, ".parquet")
    return bool(suffixes) and (suffixes[-1] in known or _language(suffixes[-1]))


def _language(suffix: str) -> bool:
    return suffix.removeprefix(".") in LANGUAGES


def _file(path: Path) -> Finding:
    sample = sample_of(path)
    if sample is None:
        return plain_text(path)
    try:
        roles = roles_of(sample, str(path))
    except DataError:
        # Sentences with a comma each look like two columns.
        if path.suffix == ".txt":
            return plain_text(path)
        raise
    splits, notes = siblings(path)
    given = _usable(splits, roles, sample)
    notes += [
        f"{splits[split].name} has other columns, or none of {roles.fields['label']}; "
        f"a tenth of the training rows is held out as {split}"
        for split in splits
        if split not in given and "label" in roles.fields
    ]
    source = {"source": "files", **{split: str(file) for split, file in given.items()}}
    fields = _with_names({**source, **sample.options, **roles.fields})
    facts = {"characters": float(path.stat().st_size)}
    notes = [*sample.notes, *notes, *roles.notes]
    return Finding({"name": roles.task}, data_of(roles.section, fields), tuple(notes), facts=facts)


def _with_names(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a source whose columns have no names, with those of their roles in place of
    ``column_1``."""
    if "columns" not in fields:
        return fields
    names = {fields[key]: key for key in ("text", "text_pair", "target", "label") if key in fields}
    columns = [names.get(column, column) for column in fields["columns"]]
    return {**fields, **{names[old]: names[old] for old in names}, "columns": columns}


def _usable(splits: dict[str, Path], roles: Roles, train: Sample) -> dict[str, Path]:
    """The splits that have the columns of the training file, and its labels."""
    found = {"train": splits["train"]}
    names = [name.partition(".")[0] for key, name in roles.fields.items() if isinstance(name, str)]
    for split in ("validation", "test"):
        if split not in splits:
            continue
        sample = sample_of(splits[split])
        if sample is None or not all(name in sample.columns for name in names):
            continue
        label = roles.fields.get("label")
        if roles.task == "classification" and label is not None:
            known = set(map(str, train.columns[label]))
            # A test split without labels has -1 for each.
            if not known.intersection(map(str, sample.columns[label])):
                continue
        found[split] = splits[split]
    return found
