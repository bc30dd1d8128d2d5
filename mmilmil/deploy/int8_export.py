"""An int8 model that keeps its AP, and what is to be told of it."""

import statistics
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from torch import nn

from ..errors import InputError
from ..runtime.detector import INT8_FILE, Detector
from .agreement import FOUND_FROM, agreement, shift
from .calibration import Calibration, CalibrationImages
from .float_layers import search
from .images import Images
from .int8 import Int8
from .model import Arrays, fitted
from .parity import timed
from .processor import processor

AP = 'AP on val'
AGREEMENT = 'agreement with the float model'
_FEW = 16
"""Images on which what a layer costs by itself is measured."""
Prepared = tuple[np.ndarray, np.ndarray]
"""Pixels (1, 3, H, W) float32, and height and width of the image in them, (2,) int64."""


@dataclass
class Validation:
    """The measure on a validation set.

    Attributes:
        figures: Gives what ``metrics.json`` tells of a model; None where there is no validation set to measure on.
        of_float: Those of the exported model in float.
        why_not: Why there is none, in words.
    """

    figures: Callable[[Detector], Mapping] | None = None
    of_float: Mapping | None = None
    why_not: str = ''


def make_int8(model: Detector, chosen: CalibrationImages, preprocessor: nn.Module, images: Images,
              validation: Validation, limit: float, tell: Callable[[str], Any] = print) -> tuple[onnx.ModelProto | None, dict]:
    """Calibrate, and leave as many layers in float as AP needs.

    Args:
        model: The exported model, of one thread.
        chosen: What to calibrate on.
        preprocessor: The detector's.
        images: What to compare detections and time on; where they are drawn ones, detections are compared on ``chosen``.
        validation: The measure of AP.
        limit: How much of AP, in [0, 1], may be lost.
        tell: Takes a line on what is being done.

    Returns:
        The model, None where none is within the limit, and what the report tells of it, as plain data.

    Raises:
        InputError: an image cannot be read, too few of them fit into the input, or nothing tells what int8 costs.
    """
    machine, metadata = processor(), model.metadata
    calibration = Calibration(chosen, preprocessor, model)
    tell(f'calibrating int8 on {len(chosen.annotations)} images ({chosen.source})')
    int8 = Int8(model.path, calibration, machine.seven_bits)
    if calibration.unseen:
        tell(f'warning: no calibration image shows {", ".join(calibration.unseen)}: what int8 costs these classes is not '
             'known; add images of them to --int8')
    names = [layer.name for layer in int8.layers]
    compared = images if images.real else chosen.prepared(preprocessor)
    told = dict(calibration_images=calibration.used, classes_unseen=calibration.unseen)

    def made(in_int8: Collection[str]) -> tuple[onnx.ModelProto, Detector]:
        graph = int8.model(in_int8, metadata, **told)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / INT8_FILE
            path.write_bytes(graph.SerializeToString())
            return graph, Detector(path, threads=1)

    @cache
    def wanted(number: int) -> list[Arrays]:
        return _detections(model, compared, number)

    @cache
    def few() -> list[Prepared]:  # asked for once a layer
        return list(islice(_fitting(model, compared), _FEW))

    def cost(name: str) -> float:
        quantised = made([name])[1]
        return shift(wanted(_FEW), [quantised.run(*image) for image in few()])

    figures: dict[tuple[str, ...], Mapping] = {}

    def on_validation(left: tuple[str, ...]) -> float:
        tell(f'AP on val with {len(names) - len(left)} of {len(names)} layers in int8')
        figures[left] = validation.figures(made(set(names) - set(left))[1])
        return figures[left]['all']

    def by_detections(left: tuple[str, ...]) -> float:
        found = _detections(made(set(names) - set(left))[1], compared, compared.number)
        return agreement(wanted(compared.number), found, len(metadata.classes))

    target = validation.of_float['all'] if validation.of_float else None
    measure, by = (on_validation, AP) if target is not None else (by_detections, AGREEMENT)
    why_not, number = '', compared.number
    if target is None:
        why_not, number = validation.why_not or 'it is defined for none of the classes', len(wanted(compared.number))
        target = agreement(wanted(compared.number), wanted(compared.number), len(metadata.classes))
        tell(f'int8 is measured by agreement with the float model on {number} images ({compared.source}), as AP is not: '
             f'{why_not}')
    if target is None:
        raise InputError(f'nothing tells what int8 costs: AP is not measured, and the model finds nothing with a score of '
                         f'{FOUND_FROM} or more on {number} images ({compared.source}): give a config with a validation set')
    found = search(names, measure, cost, target, limit)
    best = found.best
    report = dict(
        processor=dict(asdict(machine), told=machine.told()), weight_bits=8 - machine.seven_bits,
        calibration=calibration.as_dict(), layers=len(names),
        last_in_float=[layer.name for layer in int8.last], left_in_float=list(best.left) if best else None,
        measured_by=by, why_not_ap=why_not, images=number,
        source=compared.source, float=target, limit=limit, reached=best.value if best else None,
        attempts=[asdict(one) for one in found.attempts], ranking=found.ranking)
    if not best:
        return None, report
    graph, quantised = made(set(names) - set(best.left))
    report.update(figures=figures.get(best.left), bytes=len(graph.SerializeToString()), **_latency(model, quantised, images))
    return graph, report


def not_reached(report: Mapping) -> InputError:
    """The error of an int8 model that would lose more than the limit.

    Args:
        report: What :func:`make_int8` tells.
    """
    least = min(report['attempts'], key=lambda one: one['drop'])
    return InputError(
        f'no int8 model is kept: of {report["measured_by"]}, {report["float"]:.4f} in float, it loses {least["drop"]:.4f} with '
        f'{len(least["left"])} of {report["layers"]} layers left in float, and --int8-max-drop is {report["limit"]:g}: allow '
        'more, or calibrate on more images, of every class; model.onnx and the report are written')


def _detections(model: Detector, images: Images, number: int) -> list[Arrays]:
    """What a model finds in the first images that fit into its input."""
    return [model.run(pixels, shape) for pixels, shape in islice(_fitting(model, images), number)]


def _latency(model: Detector, quantised: Detector, images: Images) -> dict[str, float]:
    """Median time of an image in milliseconds by both, each image by both in turn."""
    times: tuple[list[float], list[float]] = [], []
    for pixels, shape in _fitting(model, images):
        for one, taken in zip((model, quantised), times):
            if not taken:
                one.run(pixels, shape)  # the first pass prepares the others
            taken.append(timed(one.run, pixels, shape)[1])
    return {name: 1e3 * statistics.median(taken) for name, taken in zip(('float_ms', 'int8_ms'), times)}


def _fitting(model: Detector, images: Images) -> Iterator[Prepared]:
    """Pixels and shape of the images that fit into a model's input; parity with torch, or calibration, tells of the others."""
    for image in images:
        try:
            pixels = fitted(image.pixels, model.metadata, image.name)
        except InputError:
            continue
        yield pixels.numpy(), np.array(image.shape, np.int64)
