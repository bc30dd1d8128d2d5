"""From a detector to an ONNX model, by torch's exporter."""

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import nn

from ..errors import InputError
from ..log_level import at_level
from ..runtime.metadata import Metadata
from .exportable import check_exportable
from .plain import plain_detector
from .translations import OPSET, table

INPUTS = ('image', 'image_shape')
OUTPUTS = ('boxes', 'scores', 'labels')


def to_onnx(detector: nn.Module, size: tuple[int, int] | None, divisor: int, whose: str) -> onnx.ModelProto:
    """A detector as a checked ONNX model of plain operators.

    Args:
        detector: The stock detector, in eval mode on the CPU.
        size: Height and width of its input in pixels; None: any multiples of ``divisor``.
        divisor: What the sides of an input are multiples of.
        whose: Whose it is, for messages, as ``the detector of w.pth``.

    Returns:
        A model with inputs :data:`INPUTS` and outputs :data:`OUTPUTS`, see :class:`mmilmil.deploy.plain.PlainDetector`.

    Raises:
        InputError: the detector, a part or a setting of it cannot be exported, or not with any size.
    """
    check_exportable(detector, whose)
    plain = plain_detector(detector)
    # Traced on a size whose sides differ, so that none passes for the other.
    height, width = size or (8 * divisor, 9 * divisor)
    inputs = torch.zeros(1, 3, height, width), torch.tensor([height, width])
    shapes = None
    if size is None:
        rows, columns = torch.export.Dim('rows'), torch.export.Dim('columns')
        shapes = dict(image={2: divisor * rows, 3: divisor * columns}, image_shape=None)
    with torch.no_grad(), _quiet():
        try:
            program = torch.export.export(plain, inputs, dynamic_shapes=shapes, strict=False)
            model = torch.onnx.export(
                program, (), input_names=INPUTS, output_names=OUTPUTS, opset_version=OPSET, external_data=False,
                custom_translation_table=table(), verbose=False).model_proto
        except Exception as error:  # layers that torch cannot export fail in any way
            remedy = 'give --size HEIGHT WIDTH' if size is None else 'it has a layer that torch cannot export'
            raise InputError(f'{whose}, {type(detector).__name__}, cannot be exported{" with any size" * (size is None)}: it '
                             f'fails in {_failing_part(error, detector)} ({_first_line(error)}): {remedy}') from error
    _bare(model)
    others = sorted({node.domain for node in model.graph.node} - {''}) or [function.name for function in model.functions]
    if others:
        raise InputError(f'{whose} cannot be exported: torch wrote operators of {", ".join(others)}, which other runtimes do '
                         'not know')
    onnx.checker.check_model(model, full_check=True)
    return model


def add_metadata(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Write into a model what it says of itself."""
    onnx.helper.set_model_props(model, metadata.to_props())


def _bare(model: onnx.ModelProto) -> None:
    """Take out what torch notes of every node, such as the paths of the code that it comes from."""
    del model.metadata_props[:]
    graph = model.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ''


def _failing_part(error: BaseException, detector: nn.Module) -> str:
    """The innermost part of the detector that an error, or what it came from, went through."""
    names = {id(module): name for name, module in detector.named_modules() if name}
    place, seen = 'the detector itself', error
    while seen is not None:
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            owner = frame.f_locals.get('self')
            if id(owner) in names:
                place = f'model.{names[id(owner)]}, {type(owner).__name__}'
        seen = seen.__cause__
    return place


def _first_line(error: BaseException) -> str:
    text = ' '.join(f'{type(error).__name__}: {error}'.split())
    return text if len(text) < 300 else f'{text[:300]}...'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's notes on itself: on torchvision, which is not needed, what it calls deprecated, and where it fails whole
    programs."""
    with (at_level(logging.getLogger('torch.onnx'), logging.ERROR), warnings.catch_warnings(),
          contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO())):
        warnings.simplefilter('ignore')
        yield
