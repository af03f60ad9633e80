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
PACKAGES = {
    RuntimeName.TORCH: (),
    RuntimeName.ONNX_RUNTIME: ONNX_PACKAGES,
    # The graph that OpenVINO reads is exported as of ONNX Runtime.
    RuntimeName.OPENVINO: ("openvino", *ONNX_PACKAGES),
}
"""Packages that each runtime needs."""


class RuntimeMissingError(UserError):
    """The packages of a runtime are not installed."""


def missing_packages(name: RuntimeName) -> list[str]:
    """Packages of a runtime that are not installed."""
    return [package for package in PACKAGES[name] if find_spec(package) is None]


def installed_runtimes() -> list[RuntimeName]:
    """The runtimes whose packages are installed."""
    return [name for name in RuntimeName if not missing_packages(name)]


def check_runtime(name: RuntimeName) -> None:
    """Check that the packages of a runtime are installed.

    Raises:
        RuntimeMissingError: Naming those that are missing.
    """
    if missing := missing_packages(name):
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
    if name is RuntimeName.OPENVINO:
        from objectives.runtimes.openvino_runtime import OpenVinoRuntime

        return OpenVinoRuntime(graphs=graphs)
    from objectives.runtimes.onnx_runtime import OnnxRuntime

    return OnnxRuntime(graphs=graphs)


def decoder_of(name: RuntimeName, graphs: MutableMapping[str, bytes] | None = None) -> Runtime:
    """What decodes in a runtime other than torch; what it opens has a method ``generate``.

    Args:
        graphs: As of ``OnnxRuntime``.

    Raises:
        RuntimeMissingError: As of ``check_runtime``.
    """
    check_runtime(name)
    assert name is RuntimeName.ONNX_RUNTIME, f"{name} decodes nothing"
    from objectives.runtimes.onnx_decoder import OnnxDecoder

    return OnnxDecoder(graphs=graphs)
