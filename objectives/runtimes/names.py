"""The runtimes by name."""

from __future__ import annotations

from importlib.util import find_spec

from objectives.runtimes.base import Runtime
from spaces.cost.compression import RuntimeName
from spaces.errors import UserError

ONNX_PACKAGES = ("onnx", "onnx_ir", "onnxruntime", "onnxscript")


class RuntimeMissingError(UserError):
    """The packages of a runtime are not installed."""


def runtime_of(name: RuntimeName) -> Runtime:
    """A runtime by its name.

    Raises:
        RuntimeMissingError: Naming the packages that are missing.
    """
    if name is RuntimeName.TORCH:
        from objectives.runtimes.torch_runtime import TorchRuntime

        return TorchRuntime()
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        packages = " ".join(missing)
        raise RuntimeMissingError(f"--runtime {name} needs {packages}: pip install {packages}")
    from objectives.runtimes.onnx_runtime import OnnxRuntime

    return OnnxRuntime()
