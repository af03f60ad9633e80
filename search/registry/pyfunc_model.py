"""An exported model in MLflow's format: a pyfunc from code, which brings the code that it needs."""

from __future__ import annotations

import io
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import objectives
import spaces
from spaces.file.search_file import SearchFile

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import LoggedModel

SCRIPT = Path(__file__).with_name("registered_model.py")
REQUIREMENTS = (
    "mlflow", "torch", "transformers", "tokenizers", "safetensors", "numpy", "pandas", "pydantic",
    "fsspec", "pillow",
)  # fmt: skip
"""What a prediction imports; all of tlc needs far more."""


def save(
    exported: Path, search: SearchFile, logged: LoggedModel, run: str | None, folder: Path
) -> Path:
    """Write an exported model in MLflow's format.

    Args:
        exported: The exported folder.
        search: Says what the model reads.
        logged: MLflow's entity that it belongs to.
        run: The run of its trial, if there is one.
        folder: Where to; it does not exist.

    Returns:
        The folder.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with _quiet():
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(SCRIPT),
            artifacts={"model": str(exported)},
            code_paths=[package.__path__[0] for package in (spaces, objectives)],
            signature=_signature(search),
            input_example=_example(search),
            pip_requirements=requirements(),
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run,
                model_id=logged.model_id,
            ),
        )
    for compiled in folder.rglob("__pycache__"):
        shutil.rmtree(compiled)
    return folder


def requirements() -> list[str]:
    """The packages of a prediction, at the versions of here.

    Without local versions such as ``+cpu``, which no package index has.
    """
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _signature(search: SearchFile) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    kind = "binary" if search.data.images is not None else "string"
    outputs = [ColSpec("string", "answer")]
    if search.task.name not in ("causal-lm", "translation"):
        outputs.append(ColSpec("double", "probability"))
    return ModelSignature(
        inputs=Schema([ColSpec(kind, name) for name in _columns(search)]), outputs=Schema(outputs)
    )


def _columns(search: SearchFile) -> list[str]:
    if search.data.images is not None:
        return ["image"]
    is_pair = getattr(search.data.labelled, "text_pair", None) is not None
    return ["text", "text_pair"] if is_pair else ["text"]


def _example(search: SearchFile) -> pd.DataFrame:
    """An input of no data set: what a model was trained on may not be for everyone."""
    import pandas as pd

    if search.data.images is not None:
        value: Any = _grey_image(search.data.image_size)
    else:
        value = "a text with a <mask>" if search.task.name == "masked-lm" else "a text"
    return pd.DataFrame({name: [value] for name in _columns(search)})


def _grey_image(size: int) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (size, size), 128).save(file, format="PNG")
    return file.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what MLflow says of each model that it writes."""
    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
