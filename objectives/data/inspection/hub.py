"""Data sets of the Hugging Face Hub: their splits and columns."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from objectives.data.errors import DataError
from objectives.data.inspection.dialects import SAMPLE_ROWS
from objectives.data.inspection.finding import Finding, data_of
from objectives.data.inspection.folders import image_data
from objectives.data.inspection.names import LABELS, SPLIT_NAMES
from objectives.data.inspection.roles import roles_of
from objectives.data.inspection.samples import Sample, class_names_of

UNKNOWN_CHARACTERS = 10_000_000
"""Of the training text, where the Hub does not say how large it is."""


def hub_data_set(name: str, cache: Path) -> Finding:
    """The task and the data of a data set, by its features and its first rows.

    Raises:
        DataError: It cannot be reached, or it has several configurations or no split to train on.
    """
    import datasets

    datasets.disable_progress_bars()
    origin = f"hf://datasets/{name}"
    try:
        builder = datasets.load_dataset_builder(origin, cache_dir=str(cache))
        rows = datasets.load_dataset(origin, cache_dir=str(cache), streaming=True)
        splits = {str(split): rows[split] for split in rows}
    except Exception as error:
        # datasets raises dozens of classes, of pyarrow, pandas and the Hub's libraries.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{name}: cannot be read from the Hub: {reason}") from error
    named = {split: _named(list(splits), names) for split, names in SPLIT_NAMES.items()}
    if named["train"] is None:
        raise DataError(f"{name}: no split to train on; it has {', '.join(splits)}")
    train = splits[named["train"]]
    first = list(islice(train, SAMPLE_ROWS if not _has_images(train) else 20))
    given = {split: there for split, there in named.items() if there is not None}
    notes = [f"splits of the Hub: {', '.join(splits)}"]
    source: dict[str, Any] = {"source": "hub", "dataset": name, **given}
    size = (builder.info.splits or {}).get(named["train"])
    characters = float(getattr(size, "num_bytes", 0) or UNKNOWN_CHARACTERS)
    features = train.features or builder.info.features or {}
    if (image := _has_images(train)) is not None:
        keys = [key for key in features if hasattr(features[key], "names")]
        if not keys:
            raise DataError(f"{name}: its images have no classes; it has {', '.join(features)}")
        label = next((key for key in LABELS if key in keys), keys[0])
        return _images(first, {**source, "image": image, "label": label}, notes)
    columns = {key: [row.get(key) for row in first] for key in features}
    sample = Sample(columns, class_names_of(datasets.Features(features).to_dict()))
    roles = roles_of(sample, name)
    data = data_of(roles.section, {**source, **roles.fields})
    facts = {"characters": characters}
    return Finding({"name": roles.task}, data, (*notes, *roles.notes), facts=facts)


def _named(splits: list[str], names: tuple[str, ...]) -> str | None:
    return next((split for name in names for split in splits if split.startswith(name)), None)


def _has_images(rows: Any) -> str | None:
    features = rows.features or {}
    kinds = {key: type(feature).__name__ for key, feature in features.items()}
    return next((key for key, kind in kinds.items() if kind == "Image"), None)


def _images(first: list[Any], source: dict[str, Any], notes: list[str]) -> Finding:
    images = [row[source["image"]] for row in first]
    side = min(min(image.size) for image in images)
    channels = 1 if all(image.mode in ("1", "L") for image in images) else 3
    data = image_data(source, side, channels)
    size = data["image_size"]
    notes.append(f"images of {side} pixels; resized to {size} × {size} (data.image_size)")
    return Finding({"name": "image-classification"}, data, tuple(notes), "images", {"rows": 10_000})
