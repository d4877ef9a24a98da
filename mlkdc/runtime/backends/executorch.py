"""ExecuTorch on the CPU. Its Python bindings take and give torch tensors, so that torch is needed here."""

from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, Signature, check_signature, import_error
from mlkdc.runtime.quiet import quiet
from mlkdc.runtime.spec import ModelSpec

METHOD = "forward"
#: Before the names of further methods, each of which gives a text that the program says of itself.
METADATA = "mlkdc_"


@RUNTIMES.register("executorch")
class ExecuTorch(Backend):
    """A loaded method of a program.

    ExecuTorch has one thread pool in a process, and a loaded method holds on to it: the number of threads can be
    changed only while nothing else is loaded.

    Raises:
        UsageError: also where the requested number of threads cannot be set.
    """

    _open: ClassVar[WeakSet["ExecuTorch"]] = WeakSet()

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        path = spec.only_file(folder, ".pte")
        bindings = _bindings()
        if threads:
            self._set_threads(bindings, threads)
        self._program, self._method = _load(bindings, path)
        self._open.add(self)
        meta = self._method.method_meta()
        # A program names neither inputs nor outputs: the manifest's names are taken.
        inputs = [_describe(spec.input.name, meta.input_tensor_meta(i)) for i in range(meta.num_inputs())]
        outputs = [_describe(spec.output.name, meta.output_tensor_meta(i)) for i in range(meta.num_outputs())]
        check_signature(path, spec, inputs, outputs)

    def run(self, batch: np.ndarray) -> np.ndarray:
        import torch

        output: np.ndarray = self._method([torch.from_numpy(batch)])[0].numpy()
        return output

    def metadata(self) -> dict[str, str]:
        found = {}
        for name in _methods(self._program) - {METHOD}:
            found[name.removeprefix(METADATA)] = self._program.load_method(name)([])[0]
        return found

    def close(self) -> None:
        self._open.discard(self)
        del self._method, self._program

    @classmethod
    def _set_threads(cls, bindings: Any, threads: int) -> None:
        used = bindings._threadpool_get_thread_count()
        if used == threads:
            return
        if cls._open:
            raise UsageError(
                f"cannot run ExecuTorch with {threads} threads: a model is open in this process with {used}, and all "
                "share one pool; close it first, or use another process"
            )
        with quiet():
            bindings._unsafe_reset_threadpool(threads)
        if (used := bindings._threadpool_get_thread_count()) != threads:
            raise UsageError(f"asked ExecuTorch for {threads} threads, it has {used}; omit --threads")


def _bindings() -> Any:
    """What ``executorch.runtime`` is made of: importing that takes four more seconds, for a class of warnings that lies
    in the package's exporting part."""
    try:
        with quiet():
            import torch  # noqa: F401  # whose libraries it is linked to
            from executorch.extension.pybindings import _C
    except ImportError as error:
        raise import_error("ExecuTorch", error, "executorch-runtime") from None
    return _C


def _load(bindings: Any, path: Path) -> tuple[Any, Any]:
    """The program, which must live as long as its method, and the method."""
    try:
        with quiet():
            checks = bindings.Verification.InternalConsistency
            program = bindings._load_program(str(path), program_verification=checks)
            methods = {name for name in _methods(program) if not name.startswith(METADATA)}
            if methods != {METHOD}:
                raise UsageError(f"{path}: expected one method, {METHOD}, got {sorted(methods)}")
            return program, program.load_method(METHOD)
    except RuntimeError as error:
        raise UsageError(
            f"ExecuTorch cannot load {path}: {error}; it is damaged, or made for another version or "
            "backend; export the run again"
        ) from error


def _methods(program: Any) -> set[str]:
    return {program.get_method_name(number) for number in range(program.num_methods())}


def _describe(name: str, tensor: Any) -> Signature:
    return name, _DTYPES.get(tensor.dtype(), "another type"), list(tensor.sizes())


# torch's numbers of the types that a model here may take or give.
_DTYPES = {0: "uint8", 6: "float32"}
