"""Which detectors a student can be: those whose training flow it restates, told before anything is trained.

The student restates what a stock Faster R-CNN does in a training step, and the teacher what it does in a test, so whatever a
detector does otherwise there would be left out without a word.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

from mmdet.models import BBoxHead, RPNHead, StandardRoIHead, TwoStageDetector
from mmdet.models.task_modules.samplers import MaskPseudoSampler, MultiInsRandomSampler
from mmengine.registry import Registry
from torch import nn

from ..errors import InputError
from ..registry import MODELS, TASK_UTILS

SUPPORTED = ('mmilmil supports Faster R-CNN: type="FasterRCNN" with an RPNHead whose loss_cls has use_sigmoid=True, a '
             'StandardRoIHead with one softmax box head, no mask head, and samplers such as RandomSampler')

# What the student or the teacher restates of each part.
_FLOW = {
    TwoStageDetector: ('loss', 'predict', 'extract_feat'),
    RPNHead: ('forward', 'loss', 'loss_by_feat', 'predict', '_predict_by_feat_single'),
    StandardRoIHead: ('loss', 'bbox_loss', 'predict', 'predict_bbox'),
    BBoxHead: ('loss_and_target', 'get_targets', 'predict_by_feat', '_predict_by_feat_single'),
}
_BASES = {'model': TwoStageDetector, 'model.rpn_head': RPNHead, 'model.roi_head': StandardRoIHead,
          'model.roi_head.bbox_head': BBoxHead}
_RPN_SAMPLER, _ROI_SAMPLER = 'model.train_cfg.rpn.sampler', 'model.train_cfg.rcnn.sampler'
_SAMPLERS = (_RPN_SAMPLER, _ROI_SAMPLER, *(f'{name}.{part}' for name in (_RPN_SAMPLER, _ROI_SAMPLER)
                                           for part in ('pos_sampler', 'neg_sampler')))


def check_supported(detector: Union[nn.Module, Mapping], whose: str) -> None:
    """Stop where a detector is none that a student can be.

    Args:
        detector: The built detector, or its config: before it is built the types in it are looked at, afterwards what they
            were made into as well.
        whose: Whose it is, for the message, as ``the teacher w.pth``.

    Raises:
        InputError: names the part that is not supported and what is.
    """
    reason = next(_reasons(detector), None)
    if reason:
        raise InputError(f'{whose} is not supported: {reason}. {SUPPORTED}')


def _reasons(detector: Union[nn.Module, Mapping]) -> Iterator[str]:
    built = isinstance(detector, nn.Module)
    kinds = _kinds_of(detector) if built else _kinds_in(detector)
    kind = kinds['model']
    if kind is not None and not issubclass(kind, TwoStageDetector):
        yield f'{kind.__name__} is no two-stage detector'
        return
    for name in ('rpn_head', 'roi_head'):
        if not (hasattr(detector, name) if built else detector.get(name)):
            yield f'{kind.__name__ if kind else "the detector"} has no model.{name}'
            return
    for where, base in _BASES.items():
        yield from _flow_reasons(kinds[where], base, where)
    for where in _SAMPLERS:
        yield from _sampler_reasons(kinds[where], where)
    mask = detector.roi_head.mask_head if built and detector.roi_head.with_mask else None
    if mask or not built and detector['roi_head'].get('mask_head'):
        yield 'model.roi_head has a mask_head, which the student would not train'
    if built:
        yield from _built_reasons(detector)


def _built_reasons(detector: nn.Module) -> Iterator[str]:
    """What only the settings tell, with every default in its place."""
    if not detector.rpn_head.use_sigmoid_cls:
        yield 'model.rpn_head.loss_cls has use_sigmoid=False, and a softmax RPN tells no objectness logit'
    head = detector.roi_head.bbox_head
    if not (head.with_cls and head.with_reg):
        yield 'model.roi_head.bbox_head has no classification or no box regression (with_cls, with_reg)'
    loss = head.loss_cls
    if getattr(loss, 'use_sigmoid', False) or head.custom_cls_channels:
        yield f'model.roi_head.bbox_head.loss_cls, {type(loss).__name__}, is not a softmax over the classes and background'
    if head.bbox_coder.encode_size != 4:
        yield (f'model.roi_head.bbox_head.bbox_coder, {type(head.bbox_coder).__name__}, writes a box in '
               f'{head.bbox_coder.encode_size} numbers instead of 4')


def _kinds_of(detector: nn.Module) -> dict[str, Optional[type]]:
    """Types of a built detector's parts, by where its config names them."""
    rpn, roi = getattr(detector, 'rpn_head', None), getattr(detector, 'roi_head', None)
    parts = {'model': detector, 'model.rpn_head': rpn, 'model.roi_head': roi,
             'model.roi_head.bbox_head': getattr(roi, 'bbox_head', None),
             _RPN_SAMPLER: getattr(rpn, 'sampler', None), _ROI_SAMPLER: getattr(roi, 'bbox_sampler', None)}
    for name in (_RPN_SAMPLER, _ROI_SAMPLER):
        for part in ('pos_sampler', 'neg_sampler'):
            parts[f'{name}.{part}'] = getattr(parts[name], part, None)
    return {name: None if part is None else type(part) for name, part in parts.items()}


def _kinds_in(cfg: Mapping) -> dict[str, Optional[type]]:
    """The same of a config; a type that is not registered is ``None``, as building it tells that."""
    roi, train = cfg.get('roi_head') or {}, cfg.get('train_cfg') or {}
    samplers = [part.get('sampler') if isinstance(part, Mapping) else None for part in (train.get('rpn'), train.get('rcnn'))]
    parts = {'model': cfg, 'model.rpn_head': cfg.get('rpn_head'), 'model.roi_head': roi,
             'model.roi_head.bbox_head': roi.get('bbox_head'), _RPN_SAMPLER: samplers[0], _ROI_SAMPLER: samplers[1]}
    for name, sampler in zip((_RPN_SAMPLER, _ROI_SAMPLER), samplers):
        for part in ('pos_sampler', 'neg_sampler'):
            parts[f'{name}.{part}'] = (sampler or {}).get(part)
    return {name: _kind_in(part, TASK_UTILS if 'sampler' in name else MODELS) for name, part in parts.items()}


def _kind_in(cfg: Any, registry: Registry) -> Optional[type]:
    if isinstance(cfg, (list, tuple)):
        return nn.ModuleList
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    kind = registry.get(kind) if isinstance(kind, str) else kind
    return kind if inspect.isclass(kind) else None


def _flow_reasons(kind: Optional[type], base: type, where: str) -> Iterator[str]:
    """Why a part does not do what ``base`` does."""
    if kind is None or getattr(kind, 'restates_flow', False):
        return
    if not issubclass(kind, base):
        yield f'{where} is a {"list" if kind is nn.ModuleList else kind.__name__}, not a {base.__name__}'
        return
    own = next((name for name in _FLOW[base] if getattr(kind, name) is not getattr(base, name)), None)
    if own:
        yield f'{where} is a {kind.__name__}, whose {own}() is another than that of {base.__name__}'


def _sampler_reasons(kind: Optional[type], where: str) -> Iterator[str]:
    if kind is None:  # none is needed where nothing is trained
        return
    if issubclass(kind, (MultiInsRandomSampler, MaskPseudoSampler)):
        yield f'{where} is a {kind.__name__}, which gives no plain sampling result'
    methods = (getattr(kind, method, None) for method in ('sample', '_sample_pos', '_sample_neg'))
    if any(method and 'feats' in inspect.signature(method).parameters for method in methods):
        yield f'{where} is a {kind.__name__}, which samples by features that the student does not hand to it'
