"""Whether weights are those of a detector, and in which words it is told where they are not."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import config_values
from .growth import box_rows, class_layers, softmax_rows
from .heads import class_heads
from .meaning import normalisation

_SHOWN = 3  # differences that a message names


def load_weights(detector: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Load a state dict as stock MMDetection does, and tell what does not fit.

    What MMDetection saves beside the weights of a detector may differ: a count of batches (``num_batches_tracked``) may be
    missing, and the image normalisation may be there, which some versions saved; it is compared.

    Args:
        detector: The detector. Where something does not fit, what does is loaded all the same.
        weights: A state dict with the names of the stock detector.

    Returns:
        What does not fit, in words; empty where all does.
    """
    try:
        missing, unknown = detector.load_state_dict(weights, strict=False)
    except RuntimeError:  # of other shapes, which are told below
        missing, unknown = detector.state_dict().keys() - weights.keys(), weights.keys() - detector.state_dict().keys()
    own = detector.state_dict()
    wrong = [*_other_class_numbers(detector, weights)]
    buffers = dict(detector.named_buffers())
    for name in [name for name in unknown if name in buffers]:  # not persistent
        if not torch.equal(buffers[name].cpu().flatten(), weights[name].cpu().flatten()):
            wrong.append(f'{name} is {weights[name].flatten().tolist()} there and {buffers[name].flatten().tolist()} in the '
                         'config')
    names = [f'{name} (missing)' for name in sorted(missing) if not name.endswith('.num_batches_tracked')]
    names += [f'{name} (unknown)' for name in sorted(unknown) if name not in buffers]
    names += [f'{name} ({tuple(weights[name].shape)} instead of {tuple(value.shape)})' for name, value in own.items()
              if name in weights and weights[name].shape != value.shape]
    if names:
        wrong.append(f'{len(names)} weights are missing, unknown or of another shape: {", ".join(names[:_SHOWN])}')
    return wrong


def told_otherwise(meta: Mapping, model: Mapping) -> list[str]:
    """In which settings a detector's config differs from the one inside a checkpoint, where that can be read.

    Args:
        meta: ``meta`` of the checkpoint; MMDetection 2 called the config in it ``config``, 3 calls it ``cfg``.
        model: The config's ``model``.

    Returns:
        Each setting with both values, in words.
    """
    return [f'{name} is {old!r} there and {new!r} in the config'
            for name, old, new in _differences(_config_inside(meta).get('model'), model, 'model')][:_SHOWN]


def other_normalisation(meta: Mapping, detector: nn.Module) -> list[str]:
    """In what a detector normalises images otherwise than the config inside a checkpoint, where that can be read.

    Weights do not tell it: those of a ``caffe`` backbone fit any other.

    Args:
        meta: See :func:`told_otherwise`.
        detector: The built detector.

    Returns:
        Each setting with both values, in words.
    """
    inside = _config_inside(meta)
    model = inside.get('model')
    # MMDetection 2 normalises in the pipeline, by settings under this name.
    saved = inside.get('img_norm_cfg') or (model.get('data_preprocessor') if isinstance(model, Mapping) else None)
    if not isinstance(saved, Mapping) or not saved.get('mean'):
        return []
    own = normalisation(detector)
    swapped = saved.get('to_rgb', bool(saved.get('bgr_to_rgb') or saved.get('rgb_to_bgr')))
    there = dict(mean=_rounded(saved['mean']), std=_rounded(saved.get('std') or ()), bgr_to_rgb=swapped)
    here = dict(mean=_rounded(own['mean'] or ()), std=_rounded(own['std'] or ()), bgr_to_rgb=own['bgr_to_rgb'])
    return [f'{name} of the images is {there[name]} there and {here[name]} in the config'
            for name in there if there[name] != here[name]]


def _rounded(values: Any) -> tuple[float, ...]:
    """Numbers as float32 tells them apart."""
    return tuple(float(f'{value:.6g}') for value in values)


def _config_inside(meta: Mapping) -> dict:
    try:
        return config_values(meta.get('cfg') or meta.get('config') or '')
    except (ValueError, TypeError):
        return {}


def _other_class_numbers(detector: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[str]:
    """The heads whose weights are of another number of classes."""
    for name, head in class_heads(detector).items():
        for layer, rule in class_layers(head).items():
            there, here = (state.get(f'{name}.{layer}.weight') for state in (weights, detector.state_dict()))
            if rule is box_rows or there is None or here is None or there.shape[1:] != here.shape[1:]:
                continue
            background = rule is softmax_rows
            number = (len(there) - background) / ((len(here) - background) / head.num_classes)
            if number != head.num_classes:
                yield f'its {name} is of {number:g} classes, and the config has num_classes = {head.num_classes}'
                break


def _differences(old: Any, new: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    """Plain settings that two configs both have, in other values."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [key for key in old if key in new and key not in ('train_cfg', 'test_cfg', 'init_cfg')]:
            yield from _differences(old[key], new[key], f'{name}.{key}')
    elif isinstance(old, (int, str)) and isinstance(new, (int, str)) and old != new and name != 'model.type':
        yield name, old, new
