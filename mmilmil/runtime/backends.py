"""What computes an exported model: ONNX Runtime, or OpenVINO. Each is imported when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import InputError


class Backend(Protocol):
    """A model file that is ready to run.

    Attributes:
        props: Its ``metadata_props``.
        inputs, outputs: Names of what it reads and gives.
    """

    props: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """Values of ``outputs`` for an array of each input."""


class OnnxRuntime:
    """A model file in ONNX Runtime.

    Args:
        path: The file.
        threads: Number of threads; 0: as many as ONNX Runtime takes.
        providers: Its execution providers, in the order of preference; none: the CPU's.

    Raises:
        InputError: ONNX Runtime is not installed or cannot read the file, or an execution provider is not there.
    """

    def __init__(self, path: Path, threads: int = 0, providers: Sequence[str] = ()) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f'ONNX Runtime cannot be imported ({error}): pip install onnxruntime') from error
        providers = list(providers) or ['CPUExecutionProvider']
        if missing := [name for name in providers if name not in onnxruntime.get_available_providers()]:
            raise InputError(f'this ONNX Runtime has no {", ".join(missing)}: it has '
                             f'{", ".join(onnxruntime.get_available_providers())}')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # of a class of its own for each kind of damage
            raise _unreadable(path, 'ONNX Runtime', onnxruntime.__version__, 'onnxruntime', error) from error
        self.props = self._session.get_modelmeta().custom_metadata_map
        self.inputs, self.outputs = (
            tuple(value.name for value in values) for values in (self._session.get_inputs(), self._session.get_outputs()))

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        return tuple(self._session.run(outputs, feed))


class OpenVINO:
    """A model file on the CPU by OpenVINO, in float32 where the file is.

    Without that being said, its CPU plugin computes in bfloat16 wherever the processor has it, and finds other things.

    Args:
        path: The file.
        threads: Number of threads; 0: as many as OpenVINO takes.
        providers: Must be empty, execution providers are ONNX Runtime's.

    Raises:
        InputError: OpenVINO is not installed or cannot read the file, or there are ``providers``.
    """

    def __init__(self, path: Path, threads: int = 0, providers: Sequence[str] = ()) -> None:
        if providers:
            raise InputError(f'providers={tuple(providers)} are execution providers of ONNX Runtime: leave them out, or take '
                             'the backend onnxruntime')
        try:
            import openvino
        except ImportError as error:
            raise InputError(f'OpenVINO cannot be imported ({error}): pip install openvino') from error
        settings = dict(INFERENCE_PRECISION_HINT='f32', **(dict(INFERENCE_NUM_THREADS=threads) if threads else {}))
        try:
            model = openvino.Core().read_model(path)
            self._compiled = openvino.compile_model(model, 'CPU', settings)
        except Exception as error:
            raise _unreadable(path, 'OpenVINO', openvino.__version__, 'openvino', error) from error
        # What stands in metadata_props is "framework" in OpenVINO's words.
        told = model.get_rt_info()
        self.props = {name: value.value for name, value in told['framework'].items()} if 'framework' in told else {}
        self.inputs, self.outputs = (
            tuple(value.any_name for value in values) for values in (model.inputs, model.outputs))

    def run(self, outputs: Sequence[str], feed: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        found = self._compiled(dict(feed))
        # A copy: the next run writes into the same memory.
        return tuple(np.array(found[name]) for name in outputs)


BACKENDS: dict[str, Callable[..., Backend]] = dict(onnxruntime=OnnxRuntime, openvino=OpenVINO)
"""By the names that ``--backend`` takes."""


def _unreadable(path: Path, what: str, version: str, package: str, error: Exception) -> InputError:
    return InputError(f'{path} cannot be read by {what} {version} ({" ".join(str(error).split())[:200]}): export the '
                      f'checkpoint again, or install a newer {package}')
