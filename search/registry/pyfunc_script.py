"""The pyfunc of a registered model, as a script ("models from code"): nothing is pickled.

MLflow copies this file into the model and runs it beside the package ``predictor``, which the model
brings along. It must import nothing else of tlc.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext


class ExportedModel(PythonModel):  # type: ignore[misc]
    """An exported model that predicts from a table."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the exported folder.

        Raises:
            ModelError: A file is missing or damaged.
        """
        # Only now is it in the path of modules.
        from predictor import load  # type: ignore[import-not-found]

        (folder,) = context.artifacts.values()
        self.model = load(folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Predict each row.

        Args:
            context: Unused.
            model_input: A column ``text`` (and ``text_pair`` for models of pairs), or ``image``
                with the bytes of image files.
            params: Unused.

        Returns:
            A column ``answer``, and ``probability`` where the task has one.
        """
        columns = [model_input[name].tolist() for name in model_input.columns]
        rows = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
        predictions = self.model.predict(rows)
        table = pd.DataFrame({"answer": [prediction.text for prediction in predictions]})
        if predictions and predictions[0].probability is not None:
            table["probability"] = [prediction.probability for prediction in predictions]
        return table


set_model(ExportedModel())
