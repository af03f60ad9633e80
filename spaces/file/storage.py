"""Where a search keeps its study, checkpoints, data and reports."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spaces.file.dimensions import PositiveNumber, StrictModel

_QUOTED = str.maketrans({character: quote(character) for character in "%?"})

MLFLOW_DATABASE = "mlflow.db"
MLFLOW_ARTIFACTS = "mlartifacts"


def home() -> Path:
    """The folder of everything local: ``TLC_HOME``, or ``.tlc`` in the current folder."""
    return Path(os.environ.get("TLC_HOME", ".tlc")).expanduser().absolute()


class Storage(StrictModel):
    """Where results are kept. Without values, in the folder ``.tlc`` (or ``TLC_HOME``)."""

    study: str | None = None
    """SQLAlchemy URL of the Optuna study."""
    store: str | None = None
    """Folder or fsspec URL of checkpoints and compressed models."""
    store_max_gb: PositiveNumber = 20.0
    """Quota of the store; the least useful checkpoints go first."""
    mlflow: str | None = None
    """MLflow tracking URI; ``MLFLOW_TRACKING_URI`` takes precedence."""

    @staticmethod
    def without_passwords(document: dict[str, Any]) -> dict[str, Any]:
        """The plain values of a storage, with passwords removed from the URLs."""
        return {
            key: without_password(value) if isinstance(value, str) else value
            for key, value in document.items()
        }

    def resolved(self) -> Storage:
        """The same with absolute locations of the study and the store, for another process."""
        where = Locations.of(self)
        return self.model_copy(update={"store": where.store_url, "study": where.study_url})


@dataclass(frozen=True)
class Locations:
    """The locations that ``Storage`` names, with every default filled in.

    Args:
        data: Folder of prepared data.
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

    @classmethod
    def of(cls, storage: Storage) -> Locations:
        """Fill in the defaults; ``MLFLOW_TRACKING_URI`` takes precedence over the file."""
        root = home()
        tracking_uri = os.environ.get("MLFLOW_TRACKING_URI") or storage.mlflow
        return cls(
            study_url=storage.study or sqlite_url(root / "study.db"),
            store_url=_absolute(storage.store) if storage.store else str(root / "store"),
            store_max_bytes=storage.store_max_gb * 1e9,
            data=root / "data",
            tracking_uri=tracking_uri or _mlflow_url(root / MLFLOW_DATABASE),
            artifacts=None if tracking_uri else root / MLFLOW_ARTIFACTS,
            reports=root / "reports",
        )


def sqlite_url(path: Path) -> str:
    """SQLAlchemy URL of a SQLite file; characters that have a meaning in URLs are quoted."""
    return f"sqlite:///{str(path).translate(_QUOTED)}"


def _mlflow_url(path: Path) -> str:
    """The same for MLflow, which creates the folder of ``sqlite:///`` as it is written there."""
    url = sqlite_url(path)
    return url.replace("sqlite:", "sqlite+pysqlite:", 1) if "%" in url else url


def without_password(url: str) -> str:
    """A URL with its password and tokens hidden."""
    hidden = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", r"\1***", hidden)


def _absolute(url: str) -> str:
    return url if "://" in url else str(Path(url).absolute())
