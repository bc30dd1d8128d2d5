"""Masks of objects: by which rules a COCO file's ``segmentation`` is read, and what in a config asks for it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmdet.datasets.transforms import LoadAnnotations
from torch import nn

from ..errors import InputError
from ..registry import TRANSFORMS
from .reading import number, shortened

UNUSED = [[0.] * 6]
"""In the place of the mask of an ignored object that has none: MMDetection loads it and looks at it nowhere."""

_SHORTEST = 6  # numbers of a polygon: three points
_FARTHEST = 10**6  # pixels; pycocotools takes memory for every one between two points


def mask_loaders(steps: Iterable) -> list[LoadAnnotations]:
    """The steps of a pipeline that load masks, also inside of others such as ``RandomApply``.

    Args:
        steps: Built, or as a config describes them.
    """
    found = []
    for step in steps:
        if isinstance(step, (list, tuple)):
            found += mask_loaders(step)
        elif isinstance(step, Mapping):
            kind = TRANSFORMS.get(step['type']) if isinstance(step.get('type'), str) else step.get('type')
            if isinstance(kind, type) and issubclass(kind, LoadAnnotations) and step.get('with_mask'):
                found.append(TRANSFORMS.build(dict(step)))
            found += mask_loaders(step.get('transforms', ()))
        elif isinstance(step, LoadAnnotations):
            found += [step] * step.with_mask
        else:
            found += mask_loaders(getattr(step, 'transforms', ()))
    return found


def has_mask_head(detector: nn.Module | Mapping) -> bool:
    """Whether a detector, built or as its config describes it, learns and predicts masks."""
    if isinstance(detector, nn.Module):
        return bool(getattr(detector, 'with_mask', False))
    return bool((detector.get('roi_head') or {}).get('mask_head') or detector.get('mask_head'))


def check_masks_loaded(dataset) -> None:
    """The pipelines of a training set load the masks that a mask head learns from.

    Args:
        dataset: The training set, built, in whatever wrappers.

    Raises:
        InputError: names the set whose pipeline does not. (A set whose pipeline does has been read, and has masks.)
    """
    inner = [dataset.dataset] if hasattr(dataset, 'dataset') else getattr(dataset, 'datasets', None)
    for part in inner or ():
        check_masks_loaded(part)
    if inner is None and not mask_loaders(getattr(dataset.pipeline, 'transforms', ())):
        raise InputError('the model has a mask head, and the pipeline of train_dataloader loads no masks from '
                         f'{dataset.ann_file}: set with_mask=True in its LoadAnnotations, for which every object needs a '
                         'segmentation in a COCO file, or take a detector without a mask head')


def read_mask(segmentation: Any, size: tuple[int, int], polygons_only: bool = False) -> list[list[float]] | dict:
    """An object's mask as MMDetection and pycocotools take it.

    Args:
        segmentation: As a COCO file has it: polygons, each a list ``[x1, y1, x2, y2, ...]`` in pixels, or run lengths
            ``{'size': [height, width], 'counts': ...}``, the counts a list or pycocotools' text. None where it is absent.
        size: Height and width of the image in pixels.
        polygons_only: Whether run lengths are refused.

    Returns:
        The polygons of three points or more, as shorter ones cover nothing; or the run lengths.

    Raises:
        InputError: tells what is wrong, not where.
    """
    if not segmentation:
        raise InputError('has no segmentation')
    if isinstance(segmentation, Mapping):
        if polygons_only:
            raise InputError('has run lengths for a segmentation, which LoadAnnotations with poly2mask=False does not read')
        return _run_lengths(segmentation, size)
    if not isinstance(segmentation, list):
        raise InputError(f'has the segmentation {shortened(segmentation)}, neither polygons nor run lengths')
    polygons = [polygon for polygon in map(_polygon, segmentation) if len(polygon) >= _SHORTEST]
    if not polygons:
        raise InputError(f'has the segmentation {shortened(segmentation)}, no polygon of three points or more')
    return polygons


def short_polygons(segmentation: Any) -> int:
    """How many polygons of a segmentation :func:`read_mask` leaves out."""
    return sum(len(polygon) < _SHORTEST for polygon in segmentation) if isinstance(segmentation, list) else 0


def _polygon(values: Any) -> list[float]:
    if isinstance(values, list) and len(values) % 2 == 0:
        # A file may have millions of coordinates: those that are numbers already are not read one by one.
        plain = set(map(type, values)) <= {int, float} and math.isfinite(sum(values))
        values = values if plain else list(map(number, values))
        if None not in values and max(map(abs, values), default=0) < _FARTHEST:
            return values
    raise InputError(f'has the polygon {shortened(values)} in its segmentation, not pairs of numbers [x1, y1, x2, y2, ...]')


def _run_lengths(segmentation: Mapping, size: tuple[int, int]) -> dict:
    told, counts = segmentation.get('size'), segmentation.get('counts')
    if told != list(size):
        raise InputError(f'has a segmentation of the size {shortened(told)}, and the image is {size[0]} high, {size[1]} wide')
    if isinstance(counts, str) and counts.isascii() and counts.isprintable():
        lengths: Sequence = _lengths(counts)
    else:
        lengths = counts if isinstance(counts, list) else []
    whole = all(type(length) is int and length >= 0 for length in lengths)
    if not whole or sum(lengths) != size[0] * size[1]:
        raise InputError(f'has run lengths {shortened(counts)} in its segmentation, which do not add up to the '
                         f'{size[0] * size[1]} pixels of the image')
    return {'size': told, 'counts': counts}


def _lengths(text: str) -> list[int]:
    """The run lengths in pycocotools' text: groups of five bits from the lowest on, each in a character from 48 on.

    The bit of 32 tells that the number goes on, the highest bit of its last group is its sign. From the third on a number is
    the difference to the one before the last.
    """
    lengths, value, shift = [], 0, 0
    for char in text:
        bits = ord(char) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value, shift = 0, 0
    return lengths if not shift else [-1]  # cut off inside a number
