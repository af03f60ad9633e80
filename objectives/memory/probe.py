"""Peak memory of a model: of a process that loads and runs it, less the runtime's own.

A server imports the runtime once; each model is loaded and run by a fresh child of it. The child
first does so with a small reference model, which it then frees: what a runtime allocates once (its
libraries, its kernels) is there before. What the child then has more at its peak is the model's
memory. It needs Linux, whose kernel keeps that peak and can begin it anew (proc(5)).
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from objectives.data.batches import Batch
from objectives.failures import TrialFailure
from objectives.runtimes.names import runtime_of
from objectives.store import heartbeat
from spaces.cost.compression import RuntimeName

RUNS = 3
INPUTS = "inputs.safetensors"
STATUS, RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")
WAIT_SECONDS = 1.0


@dataclass
class MemoryProbe:
    """Measures models in a runtime.

    Args:
        reference: Folder of a small model of the same kind, as the runtime prepares it.
        inputs: Arguments of a forward pass.
        folder: An existing folder, where they are written.
    """

    runtime: RuntimeName
    reference: Path
    inputs: Batch
    threads: int
    folder: Path

    def peak_mb(self, prepared: Path) -> float:
        """Megabytes (10^6 bytes) that a process needs to load and run a model.

        Args:
            prepared: Folder of the model, as the runtime prepares it.

        Raises:
            TrialFailure: The process died (``no_memory_measured``).
        """
        server = self._server
        assert server.stdin is not None
        assert server.stdout is not None
        # What ended before has closed its input.
        with suppress(BrokenPipeError):
            server.stdin.write(f"{prepared.absolute()}\n")
            server.stdin.flush()
        while not select.select([server.stdout], [], [], WAIT_SECONDS)[0]:
            heartbeat.beat("measuring memory")
        answer = json.loads(server.stdout.readline() or "null")
        if answer is None:
            raise TrialFailure("no_memory_measured", "the process that ran the model died")
        return float(answer)

    def close(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.wait()

    @cached_property
    def _server(self) -> subprocess.Popen[str]:
        inputs = self.folder / INPUTS
        save_file({name: tensor.contiguous() for name, tensor in self.inputs.items()}, inputs)
        given = [self.runtime, str(self.reference.absolute()), str(inputs), str(self.threads)]
        # This process may have found its code through more than its environment says.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *given],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C in a terminal ends the search in order, not the server under it.
            start_new_session=True,
        )


def serve(runtime: str, reference: str, inputs: str, threads: str) -> None:
    """Print the megabytes of each model whose folder comes as a line, or null where a child died;
    returns at the end of input."""
    torch.set_num_threads(int(threads))
    name, batch = RuntimeName(runtime), load_file(inputs)
    opened = runtime_of(name)
    if name is RuntimeName.TORCH:
        # It imports the class of the model. Other runtimes may start threads, which a fork loses.
        opened.open(Path(reference), threads=int(threads))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                peak = _peak_mb(name, Path(line.strip()), Path(reference), batch, int(threads))
                print(peak, flush=True)
            except BaseException as error:
                print(error, file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print("null", flush=True)


def _peak_mb(
    name: RuntimeName, prepared: Path, reference: Path, batch: Batch, threads: int
) -> float:
    _load_and_run(name, reference, batch, threads)
    gc.collect()
    # What was freed goes back to the system, and does not hide what the model needs.
    ctypes.CDLL(None).malloc_trim(0)
    RESET_PEAK.write_text("5")
    before = _bytes_of("VmRSS")
    _load_and_run(name, prepared, batch, threads)
    return (_bytes_of("VmHWM") - before) / 1e6


def _load_and_run(name: RuntimeName, folder: Path, batch: Batch, threads: int) -> None:
    forward = runtime_of(name).open(folder, threads=threads)
    for _ in range(RUNS):
        forward(**batch)


def _bytes_of(field: str) -> int:
    """A field of the kernel's status of this process."""
    found = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(found.split()[1]) * 1024


if __name__ == "__main__":
    serve(*sys.argv[1:])
