"""Runs exported models in a process that has no tlc, and prints what they answer as JSON.

Its arguments are the packages that it must not find, by commas, the runtime, and a JSON file with
the folders and the inputs.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.machinery
import io
import json
import os
import sys
from pathlib import Path
from typing import Any


def hide(packages: set[str]) -> None:
    """Make packages impossible to import, as if they were not installed."""

    class Others(importlib.machinery.PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] in packages:
                return None
            return super().find_spec(fullname, path, target)

    standard = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
    sys.meta_path[:] = [*standard, Others]


def answers(folder: Path, runtime: str, given: dict[str, Any]) -> dict[str, Any]:
    """The predictions, the score, and the output of the program of the card."""
    from predictor import load

    model = load(folder, runtime)
    with (folder / "evaluation.jsonl").open() as file:
        score = model.score([json.loads(line) for line in file])
    inputs = [tuple(each) if isinstance(each, list) else each for each in given["inputs"]]
    predictions = [[each.text, each.probability] for each in model.predict(inputs)]
    printed, program = io.StringIO(), dict[str, Any]()
    os.chdir(folder)
    with contextlib.redirect_stdout(printed):
        exec(given["program"], program)
    found = {"predictions": predictions, "score": score, "printed": printed.getvalue()}
    if runtime == "onnxruntime" and "labels" in program:
        with (folder / "evaluation.jsonl").open() as file:
            examples = list(map(input_of, map(json.loads, file)))
        found["of_program"] = program["predict"](examples)
    return found


def input_of(example: dict[str, Any]) -> Any:
    """An example as the program of a card reads it."""
    if "png" in example:
        return io.BytesIO(base64.b64decode(example["png"]))
    return " ".join(example["words"]) if "words" in example else example["text"]


if __name__ == "__main__":
    hidden, runtime, file = sys.argv[1:]
    hide(set(hidden.split(",")))
    cases = json.loads(Path(file).read_text())
    sys.path.append(next(iter(cases)))  # the package ``predictor`` of an exported folder
    print(json.dumps({name: answers(Path(name), runtime, case) for name, case in cases.items()}))
