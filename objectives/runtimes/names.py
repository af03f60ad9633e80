"""The runtimes by name."""

from __future__ import annotations

from collections.abc import MutableMapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from spaces.cost.compression import RuntimeName
from spaces.errors import UserError

if TYPE_CHECKING:
    from objectives.runtimes.base import Runtime

ONNX_PACKAGES = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")


class RuntimeMissingError(UserError):
    """The packages of a runtime are not installed."""


def check_runtime(name: RuntimeName) -> None:
    """Check that the packages of a runtime are installed.

    Raises:
        RuntimeMissingError: Naming those that are missing.
    """
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if name is RuntimeName.ONNX_RUNTIME and missing:
        packages = " ".join(missing)
        raise RuntimeMissingError(f"runtime {name} needs {packages}: pip install {packages}")


def runtime_of(name: RuntimeName, graphs: MutableMapping[str, bytes] | None = None) -> Runtime:
    """A runtime by its name.

    Args:
        graphs: As of ``OnnxRuntime``.

    Raises:
        RuntimeMissingError: As of ``check_runtime``.
    """
    check_runtime(name)
    if name is RuntimeName.TORCH:
        from objectives.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime()
    from objectives.runtimes.onnx_runtime import OnnxRuntime

    return OnnxRuntime(graphs=graphs)
