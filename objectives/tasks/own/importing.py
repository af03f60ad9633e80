"""Importing the class that a search file names as its task."""

from __future__ import annotations

import inspect
import os
import sys
from dataclasses import dataclass
from importlib import import_module, invalidate_caches
from types import ModuleType
from typing import Any

from pydantic import ValidationError
from pydantic_core import to_json

from objectives.failures import error_with_place
from objectives.models.own import register
from objectives.tasks.base import Task
from objectives.tasks.own.code import TaskCode, code_of
from objectives.tasks.own.errors import NAME, OwnTaskError
from spaces.file.own_task import OwnTask
from spaces.file.validation_errors import validation_faults

_seen: dict[str, str] = {}
"""Digest of the code of each module when it was imported."""
OWN_KEYS = ("name", "opened")
"""Keys of the section ``task`` that are no fields of the class."""


@dataclass(frozen=True)
class ImportedTask:
    """The class of a task, with its code.

    Args:
        code: Its files; None where only its ``version`` stands for it.
    """

    task_class: type[Task]
    code: TaskCode | None

    @property
    def identity(self) -> str:
        """What stands for the code in keys: its version, else the hash of its source."""
        if self.task_class.version:
            return f"version {self.task_class.version}"
        assert self.code is not None
        return self.code.digest


def import_task(name: str) -> ImportedTask:
    """Import the class of a task, ``module:Class``, from Python's path or the current folder.

    Raises:
        OwnTaskError: It cannot be imported, or is no task.
    """
    module_name, _, class_name = name.partition(":")
    module = _up_to_date(module_name, name)
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Task)):
        what = "has no such class" if found is None else "names no subclass of tlc.Task"
        classes = [n for n, each in vars(module).items() if _is_task_of(each, module)]
        allowed = f"; it has {', '.join(classes)}" if classes else ""
        raise OwnTaskError(f"{NAME}: {name}: {module_name} {what}{allowed}")
    _check_class(name, found)
    code = code_of(module)
    if code is None and not found.version:
        raise OwnTaskError(
            f"{NAME}: {name}: its source is not in a .py file, which a worker could import; "
            "write it into a module",
        )
    return ImportedTask(found, code)


def own_task(task: OwnTask) -> Task:
    """The task of a search file. Where it was opened, its models can be built from now on.

    Raises:
        OwnTaskError: It cannot be imported, its fields are not valid, or its code is not the one
            that the search started with.
    """
    imported = import_task(task.path)
    made = with_fields(imported.task_class, task.fields)
    if task.opened is not None:
        if imported.identity != task.opened.code:
            raise OwnTaskError(
                f"{NAME}: {task.name}: its code has changed since the search started (it is "
                f"{imported.identity}, it was {task.opened.code}); restore it, or start a search "
                "of another name",
            )
        register(task.opened.model, made.model)
    return made


def with_fields(task_class: type[Task], fields: dict[str, Any]) -> Task:
    """A task with the fields of a search file.

    Raises:
        OwnTaskError: They are not valid.
    """
    try:
        # As JSON, in which a path is a string, and a tuple a list.
        return task_class.model_validate_json(to_json(fields))
    except ValidationError as error:
        faults = validation_faults(error, fields, task_class.model_json_schema())
        raise OwnTaskError("\n".join(f"task.{fault}" for fault in faults)) from error


def _up_to_date(module_name: str, name: str) -> ModuleType:
    """The module, imported again where its source has changed since tlc imported it: a notebook
    lives on while its author edits a file."""
    module = _imported(module_name, name)
    code = code_of(module)
    if code is None or code.is_installed:
        return module
    if _seen.setdefault(module_name, code.digest) != code.digest:
        for each in [each for each in sys.modules if each.partition(".")[0] in code.names]:
            del sys.modules[each]
        invalidate_caches()
        module = _imported(module_name, name)
        _seen[module_name] = code.digest
    return module


def _imported(module: str, name: str) -> ModuleType:
    top = module.partition(".")[0]
    if top in ("__main__", "spaces", "objectives", "search", "tlc"):
        raise OwnTaskError(
            f"{NAME}: {name}: {top} is no module of yours; write the class into a module of its own"
        )
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        # Behind all others: a script of the user must not hide an installed package.
        sys.path.append(here)
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if module == missing or module.startswith(f"{missing}."):
            raise OwnTaskError(
                f"{NAME}: {name}: there is no module {missing} in {here}, and none is installed; "
                "run tlc in the folder of the module, or install its package",
            ) from error
        raise _raised(name, error) from error
    except Exception as error:
        # A module may raise anything when it is imported.
        raise _raised(name, error) from error


def _raised(name: str, error: Exception) -> OwnTaskError:
    return OwnTaskError(f"{NAME}: {name} cannot be imported: {error_with_place(error)}")


def _is_task_of(found: object, module: ModuleType) -> bool:
    is_task = inspect.isclass(found) and issubclass(found, Task)
    return is_task and getattr(found, "__module__", "") == module.__name__


def _check_class(name: str, task_class: type[Task]) -> None:
    for method in ("data", "model"):
        if getattr(task_class, method) is getattr(Task, method):
            raise OwnTaskError(f"{NAME}: {name}: has no {method}(), which a task needs")
    for field in task_class.model_fields:
        if field in OWN_KEYS or hasattr(Task, field):
            raise OwnTaskError(
                f"task.{field}: {name}: a field cannot be named {field!r}, "
                "which tlc.Task uses; rename it",
            )
