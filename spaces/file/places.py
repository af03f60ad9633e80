"""Where things are kept when a search file does not say."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spaces.file.search_file import SearchFile, Storage


def home() -> Path:
    """The folder of everything local: ``TLC_HOME``, or ``.tlc`` in the current folder."""
    return Path(os.environ.get("TLC_HOME", ".tlc")).expanduser().absolute()


@dataclass(frozen=True)
class Places:
    """Resolved places of one search.

    Args:
        study_url: SQLAlchemy URL of the Optuna study.
        store_url: Folder or fsspec URL of checkpoints and models.
        store_max_bytes: Quota of the store.
        data: Folder of prepared data.
        tracking_uri: MLflow tracking URI.
        artifacts: Folder of MLflow's artefacts; None where the tracking server decides.
        reports: Folder of figures and tables.
    """

    study_url: str
    store_url: str
    store_max_bytes: float
    data: Path
    tracking_uri: str
    artifacts: Path | None
    reports: Path


def places(storage: Storage) -> Places:
    """Resolve the places of a search file; ``MLFLOW_TRACKING_URI`` goes before the file."""
    root = home()
    tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or storage.mlflow
    return Places(
        study_url=storage.study or f"sqlite:///{root / 'study.db'}",
        store_url=_absolute(storage.store) if storage.store else str(root / "store"),
        store_max_bytes=storage.store_max_gb * 1e9,
        data=root / "data",
        tracking_uri=tracking_uri or f"sqlite:///{root / 'mlflow.db'}",
        artifacts=None if tracking_uri else root / "mlartifacts",
        reports=root / "reports",
    )


def without_password(url: str) -> str:
    """A URL as it may be shown."""
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", hidden)


def shown(search: SearchFile) -> dict[str, Any]:
    """The values of a search file as they may be shown: URLs without their passwords."""
    document = search.to_dict()
    document["storage"] = {
        key: without_password(value) if isinstance(value, str) else value
        for key, value in document["storage"].items()
    }
    return document


def resolved(search: SearchFile) -> SearchFile:
    """The search file as another process gets it: with its store's and its study's places, which
    would be others in another folder."""
    where = places(search.storage)
    storage = search.storage.model_copy(update={"store": where.store_url, "study": where.study_url})
    return search.model_copy(update={"storage": storage})


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).absolute())
