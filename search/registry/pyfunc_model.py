"""Logging an exported model to MLflow as a pyfunc, and registering it."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from objectives import predictor
from objectives.export.bundle import Bundle
from spaces.file.sources import Data

if TYPE_CHECKING:
    import pandas as pd

SCRIPT = Path(__file__).with_name("pyfunc_script.py")


def requirements(bundle: Bundle, data: Data) -> list[str]:
    """The packages, with their versions, that predictions need; tlc is none of them."""
    packages = ["mlflow", "numpy", "pandas"]
    if bundle.onnx is not None:
        packages.append("onnxruntime")
    else:
        packages += ["safetensors", "torch", "transformers"]
    if bundle.onnx is None and bundle.checkpoint is not None and bundle.checkpoint.is_quantised:
        packages.append("compressed-tensors")
    packages.append("pillow" if data.images is not None else "tokenizers")
    # Without local labels such as ``+cpu``, which no index has.
    return [f"{name}=={version(name).partition('+')[0]}" for name in sorted(packages)]


def log_and_register(
    exported: Path, example: pd.DataFrame, pip_requirements: list[str], **details: Any
) -> str:
    """Log a model to the active experiment of MLflow and register it.

    Args:
        exported: The exported folder.
        example: An input, from which MLflow infers the signature.
        details: Passed on to ``Model.log``; the model gets the metrics of its ``run_id``.

    Returns:
        Number of the new version.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    # This is ``mlflow.pyfunc.log_model``, which cannot name a finished run. It prints its steps. It
    # runs the script on the example before the model has its packages.
    with patch.dict(sys.modules, predictor=predictor), redirect_stderr(io.StringIO()):
        logged = Model.log(
            artifact_path=None,
            flavor=mlflow.pyfunc,
            python_model=str(SCRIPT),
            artifacts={"model": str(exported)},
            code_paths=[predictor.__path__[0]],
            input_example=example,
            pip_requirements=pip_requirements,
            **details,
        )
    return str(logged.registered_model_version)


def input_example(data: Data, task: str) -> pd.DataFrame:
    """A made-up input of a task: training data may not be published."""
    import pandas as pd

    if data.images is not None:
        from PIL import Image

        file = io.BytesIO()
        Image.new("L", (data.image_size, data.image_size), 128).save(file, format="PNG")
        return pd.DataFrame({"image": [file.getvalue()]})
    is_pair = getattr(data.labelled, "text_pair", None) is not None
    text = "a text with a <mask>" if task == "masked-lm" else "a text"
    return pd.DataFrame({column: [text] for column in ("text", "text_pair")[: 1 + is_pair]})
