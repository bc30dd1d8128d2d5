"""Whether two detectors mean the same by the same numbers: their weights may fit in shape and say different things.

Looked at are the built modules, in which every default is resolved, whatever a config leaves out.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .heads import as_list

# What two stages of one detector may differ in: classes, training, initialisation, and what is compared elsewhere.
_FREE = {
    'num_classes', 'cls_out_channels', 'reg_class_agnostic', 'train_cfg', 'test_cfg', 'init_cfg', 'frozen_stages', 'norm_eval',
    'norm_cfg', 'with_cp', 'pretrained', 'zero_init_residual', 'training', 'fp16_enabled', 'debug_imgs', 'use_box_type',
    'clip_border', 'structure', 'survivors', 'sampling', 'stage_loss_weights', 'current_stage'
}
# What torch's layers tell of themselves beside it; pruning changes widths.
_FREE_IN_LAYERS = {
    'in_channels', 'out_channels', 'in_features', 'out_features', 'num_features', 'groups', 'momentum', 'inplace', 'affine', 'p'
}
# Where the settings of a detector lie, as in its config; each may be a list, of a cascade, and have a box coder.
_PARTS = ('backbone', 'neck', 'rpn_head', 'bbox_head', 'roi_head', 'roi_head.shared_head', 'roi_head.bbox_roi_extractor',
          'roi_head.bbox_head', 'roi_head.mask_roi_extractor', 'roi_head.mask_head')
_SHOWN = 3  # differences that a message names


def check_same_meaning(teacher: nn.Module, student: nn.Module, source: str) -> None:
    """Stop where teacher and student mean different things by the same numbers.

    Classes, training and test settings, frozen stages and pruned channels may differ, and a class-wise student may have a
    class-agnostic teacher (:func:`mmilmil.models.growth.grown_state_dict`).

    Args:
        teacher: The built detector that the student learns from or starts from.
        student: The built student.
        source: What the former is, for the message, as ``the teacher w.pth``.

    Raises:
        InputError: names the settings, both values and the remedy.
    """
    found = [f'{name} is {_told(old)} there and {_told(new)} in the student' for name, old, new in
             differences(teacher, student)]
    if found:
        more = f', and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''
        raise InputError(f'{source} and the student would mean different things by the same numbers: '
                         f"{'; '.join(found[:_SHOWN])}{more}. Let the student's config inherit the one that its teacher was "
                         'trained with (_base_), or set these as they are there')


def differences(teacher: nn.Module, student: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """Settings in which two detectors differ, as their configs name them, each with the teacher's and the student's value."""
    found = False
    for name, old, new in _setting_differences(teacher, student):
        found = True
        yield name, old, new
    if not found:  # a backstop: what no setting tells
        yield from _layer_differences(teacher, student)


def _setting_differences(teacher: nn.Module, student: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    families = [_family(detector) for detector in (teacher, student)]
    if families[0] != families[1]:
        yield 'model.type', *families
        return
    yield from _compare('model.data_preprocessor', normalisation(teacher), normalisation(student))
    theirs, mine = _parts(teacher), _parts(student)
    for name in [*theirs, *(name for name in mine if name not in theirs)]:
        old, new = theirs.get(name), mine.get(name)
        yield from _compare(f'model.{name}', _settings(old), _settings(new))
        if old is not None and new is not None and hasattr(new, 'prior_generator'):
            yield from _compare(f'model.{name}.anchor_generator', *_anchors(old.prior_generator, new.prior_generator))
        if old is not None and new is not None and hasattr(new, 'roi_layers'):
            yield from _compare(f'model.{name}.roi_layer', _roi_layer(old), _roi_layer(new))
        agnostic = [getattr(part, 'reg_class_agnostic', None) for part in (old, new)]
        if agnostic == [False, True]:
            yield f'model.{name}.reg_class_agnostic', *agnostic


def _family(detector: nn.Module) -> str:
    """The nearest of MMDetection's own detectors, as students and pruned detectors do what it does."""
    return next(kind.__name__ for kind in type(detector).__mro__ if kind.__module__.startswith('mmdet.'))


def _parts(detector: nn.Module) -> dict[str, Any]:
    """The parts that a detector has, by name, the box coder of each among them."""
    parts = {}
    for path in _PARTS:
        part = detector
        for name in path.split('.'):
            part = getattr(part, name, None)
        several = isinstance(part, nn.ModuleList)
        for index, one in enumerate(as_list(part)):
            name = f'{path}.{index}' if several else path
            parts[name] = one
            if getattr(one, 'bbox_coder', None) is not None:
                parts[f'{name}.bbox_coder'] = one.bbox_coder
    return parts


def _compare(where: str, old: dict, new: dict) -> Iterator[tuple[str, Any, Any]]:
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            yield f'{where}.{name}', old.get(name), new.get(name)


def _settings(part: Any) -> dict:
    """A part's type and what it was built with, as far as that is plain."""
    if part is None:
        return {'type': None}
    values = {_CODER_NAMES.get(name, name): _plain(value) for name, value in vars(part).items()
              if not name.startswith('_') and name not in _FREE and _is_plain(value)}
    return {'type': _kind(part), **values}


def _kind(part: Any) -> str:
    """The class whose ``forward`` a part has: one that only adds, say, dropout or another default does the same."""
    if isinstance(part, nn.Module):
        return type(part).forward.__qualname__.rpartition('.')[0]
    return type(part).__name__


_CODER_NAMES = {'means': 'target_means', 'stds': 'target_stds'}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return value is None or isinstance(value, (bool, int, float, str))


def _plain(value: Any) -> Any:
    """Lists as tuples and numbers as they compare, so that two ways to write a value are equal."""
    if isinstance(value, Tensor):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return tuple(map(_plain, value))
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return float(f'{value:.6g}') if isinstance(value, float) else value  # float32 holds no more


def normalisation(detector: nn.Module) -> dict:
    """What makes a picture a tensor. To which size it is padded is free, teacher and student see the same tensor."""
    given = detector.data_preprocessor
    values = {'type': _kind(given), 'bgr_to_rgb': getattr(given, '_channel_conversion', None),
              'pad_value': getattr(given, 'pad_value', None)}
    for name in ('mean', 'std'):
        value = getattr(given, name, None)
        values[name] = None if value is None else _plain(value.flatten())
    return values


def _anchors(old: Any, new: Any) -> tuple[dict, dict]:
    """Strides and anchors or points, and where the anchors differ, what they were made of."""
    names = ['strides', 'offset']
    sizes = [[_plain(level.cpu()) for level in getattr(one, 'base_anchors', ())] for one in (old, new)]
    if sizes[0] != sizes[1]:
        made_of = ('scales', 'octave_base_scale', 'scales_per_octave', 'ratios', 'base_sizes', 'center_offset', 'centers',
                   'scale_major')
        differing = [name for name in made_of if _value(old, name) != _value(new, name)]
        names += differing or ['base_anchors']
    return tuple({name: _value(one, name) for name in names} for one in (old, new))


def _value(generator: Any, name: str) -> Any:
    return _plain(getattr(generator, name, None))


def _roi_layer(extractor: nn.Module) -> dict:
    return {name: value for name, value in _settings(extractor.roi_layers[0]).items()
            if name != 'spatial_scale'}  # featmap_strides tell it


def _layer_differences(teacher: nn.Module, student: nn.Module) -> Iterator[tuple[str, Any, Any]]:
    """What layers of the same name do otherwise, such as a stride, and those that only one detector has."""
    theirs, mine = dict(_layers(teacher)), dict(_layers(student))
    known = {name for name, _ in teacher.named_modules()} & {name for name, _ in student.named_modules()}
    for name in [*theirs, *(name for name in mine if name not in theirs)]:
        if name in theirs and name in mine:
            yield from _compare(f'model.{name}', _constants(theirs[name]), _constants(mine[name]))
        # One layer may have several in its place, such as an activation with dropout behind it.
        elif name not in known and not any(name.startswith(f'{other}.') for other in (theirs if name in mine else mine)):
            kinds = (type(layers[name]).__name__ if name in layers else None for layers in (theirs, mine))
            yield f'model.{name}.type', *kinds


def _layers(detector: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """torch's own layers that make an output in a test; a loss does not, and dropout changes nothing there."""
    for name, module in detector.named_modules():
        idle = isinstance(module, (nn.modules.loss._Loss, nn.modules.dropout._DropoutNd))
        if type(module).__module__.startswith('torch.nn') and next(module.children(), None) is None and not idle:
            yield name, module


def _constants(layer: nn.Module) -> dict:
    names = [name for name in getattr(layer, '__constants__', ()) if name not in _FREE_IN_LAYERS]
    kind = 'BatchNorm' if isinstance(layer, nn.modules.batchnorm._BatchNorm) else type(layer).__name__
    return {'type': kind, **{name: _plain(getattr(layer, name, None)) for name in names}}


def _told(value: Any) -> str:
    text = 'not set' if value is None else repr(value)
    return text if len(text) <= 80 else f'{text[:80]}...'


@torch.no_grad()
def count_levels(detector: nn.Module) -> tuple[int, int]:
    """How many backbone levels and neck levels a detector has; without a neck these are the backbone's."""
    training = detector.training
    weight = next(detector.parameters())
    detector.eval()
    try:
        backbone_levels = detector.backbone(torch.zeros(1, 3, 64, 64, device=weight.device, dtype=weight.dtype))
        neck_levels = detector.neck(backbone_levels) if detector.with_neck else backbone_levels
    finally:
        detector.train(training)
    return len(backbone_levels), len(neck_levels)
