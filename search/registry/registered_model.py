"""A registered model as MLflow runs it: a model from code, with no pickled object.

MLflow copies this file into the model and executes it there, beside the packages ``objectives``
and ``spaces`` that the model brings. So it imports nothing of ``search``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class RegisteredModel(PythonModel):  # type: ignore[misc]
    """An exported model that reads and answers tables."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the exported folder.

        Raises:
            ModelFileError: A file is missing, damaged, or of another model.
        """
        from objectives.export.inference import load

        (folder,) = context.artifacts.values()
        self.predictor = load(Path(folder))

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Answer each row.

        Args:
            context: Of MLflow.
            model_input: A column ``text`` (and ``text_pair`` for models of pairs), or ``image``
                with the bytes of image files.
            params: Of MLflow; there are none.

        Returns:
            A column ``answer``, and ``probability`` where the task has one.
        """
        columns = [model_input[name].tolist() for name in model_input.columns]
        rows = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        answers = self.predictor.predict(rows)
        table = pd.DataFrame({"answer": [answer.text for answer in answers]})
        if answers and answers[0].probability is not None:
            table["probability"] = [answer.probability for answer in answers]
        return table


set_model(RegisteredModel())
