"""The JSON schema of search files with a user's own task."""

from __future__ import annotations

import copy
import json
from typing import Any

from objectives.tasks.own.errors import NAME, OwnTaskError
from objectives.tasks.own.importing import import_task
from spaces.file.own_task import class_path
from spaces.loading import json_schema


def schema_with_task(name: str) -> dict[str, Any]:
    """The schema of search files whose task is a class, with the fields of this class.

    Args:
        name: As a search file names it.

    Raises:
        OwnTaskError: It names no class, or cannot be imported.
    """
    try:
        path = class_path(name)
    except ValueError as error:
        raise OwnTaskError(f"{NAME}: {error}") from error
    text = json.dumps(import_task(path).task_class.model_json_schema())
    # Its definitions may have the names of others.
    own = json.loads(text.replace("#/$defs/", "#/$defs/task."))
    schema = copy.deepcopy(json_schema())
    schema["$defs"] |= {f"task.{key}": each for key, each in own.pop("$defs", {}).items()}
    own["properties"] = {"name": {"const": name, "type": "string"}, **own.get("properties", {})}
    own["required"] = ["name", *own.get("required", [])]
    schema["properties"]["task"] = own
    return schema
