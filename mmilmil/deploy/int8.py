"""From an exported model to one whose layers compute in int8: ONNX Runtime's static quantisation, of the network alone."""

import copy
import json
import logging
import tempfile
from collections.abc import Collection, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

from ..log_level import at_level
from ..runtime.metadata import PREFIX, Metadata
from .calibration import Inputs
from .export import add_metadata
from .layers import KINDS, layers_of

QUANTISED = f'{PREFIX}quantised'
"""The key in an int8 file's metadata that tells how it was made, beside those of :class:`Metadata`."""
_FOLDED = 'Relu'
"""Behind a layer it becomes the lower end of its range, so that no value below 0 takes up a part of it."""


class Int8:
    """A calibrated model, of which int8 models are made.

    Weights take a scale for each output channel, activations one each, from the least and the greatest value that calibration
    has seen. Layers whose output makes boxes and scores stay in float, and so does all that is no layer.

    Args:
        path: The exported model's file.
        inputs: Gives the inputs of each image once; they are not kept.
        seven_bits: Whether weights take 7 bits instead of 8, see :class:`mmilmil.deploy.processor.Processor`.

    Attributes:
        layers: Those that can be in int8, in the order of the graph.
        last: Those that stay in float.
    """

    def __init__(self, path: Path, inputs: Iterable[Inputs], seven_bits: bool = False) -> None:
        self.seven_bits = seven_bits
        with tempfile.TemporaryDirectory() as folder, _quiet():
            ready = Path(folder) / 'ready.onnx'
            # Symbolic shapes need another package, and what follows from the image alone is known without.
            quant_pre_process(path, ready, skip_symbolic_shape=True)
            self._model = onnx.load(ready)
            calibrator = create_calibrator(ready, (*KINDS, _FOLDED), str(Path(folder) / 'noting.onnx'))
            calibrator.collect_data(_Reader(inputs))
            self._ranges = calibrator.compute_data()
        found = layers_of(self._model)
        self.layers = [one for one in found if not one.is_last]
        self.last = [one for one in found if one.is_last]
        self._behind = {node.input[0]: node.name for node in self._model.graph.node if node.op_type == _FOLDED}

    def model(self, names: Collection[str], metadata: Metadata, **told: Any) -> onnx.ModelProto:
        """The model with layers of these names in int8, of plain operators.

        Args:
            names: Of :attr:`layers`, at least one.
            metadata: The exported model's.
            told: More for the key :data:`QUANTISED`, as plain data.
        """
        nodes = {node for layer in self.layers if layer.name in names for node in layer.nodes}
        outputs = {name for node in self._model.graph.node if node.name in nodes for name in node.output}
        nodes |= {self._behind[name] for name in outputs & self._behind.keys()}
        with _quiet():
            # By channel; the list of nodes is never empty, which would mean all.
            quantizer = QDQQuantizer(copy.deepcopy(self._model), True, self.seven_bits, QuantType.QInt8, QuantType.QUInt8,
                                     self._ranges, sorted(nodes), [], [*KINDS, _FOLDED], {})
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        model = quantizer.model.model
        for opset in [one for one in model.opset_import if one.domain]:  # ONNX Runtime declares all that it knows
            model.opset_import.remove(opset)
        add_metadata(model, metadata)
        in_float = [layer.name for layer in (*self.layers, *self.last) if layer.name not in names]
        told = dict(by=f'onnxruntime {onnxruntime.__version__}', weight_bits=8 - self.seven_bits, activation_bits=8,
                    layers=len(names), layers_in_float=in_float, **told)
        model.metadata_props.add(key=QUANTISED, value=json.dumps(told))
        onnx.checker.check_model(model, full_check=True)
        return model


class _Reader:
    """ONNX Runtime's ``CalibrationDataReader``."""

    def __init__(self, inputs: Iterable[Inputs]) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> Inputs | None:
        """The next image's inputs; None after the last."""
        return next(self._inputs, None)


def _quiet() -> AbstractContextManager:
    """Without what the quantiser notes on tensors that it passes over, which are those that stay in float."""
    return at_level(logging.getLogger(), logging.ERROR)
