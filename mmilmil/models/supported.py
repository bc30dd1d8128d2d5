"""Which detectors a student can be, told before anything is built.

Teacher and student are read by hooks on the parts of a stock detector (:mod:`mmilmil.models.views`), and their class rows grow
by type of head (:mod:`mmilmil.models.growth`). What a detector does otherwise in these parts would be left out without a word.
"""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

from mmdet.models import BBoxHead, CascadeRoIHead, RPNHead, StandardRoIHead, TwoStageDetector
from mmdet.models.dense_heads import ATSSHead, GFLHead, RetinaHead, RTMDetHead, RTMDetSepBNHead
from mmdet.models.detectors import SingleStageDetector
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import MaskPseudoSampler, MultiInsRandomSampler
from mmengine.registry import Registry
from torch import nn

from ..errors import InputError
from ..registry import MODELS, TASK_UTILS
from .heads import as_list

SUPPORTED = ('mmilmil supports FasterRCNN, CascadeRCNN and MaskRCNN with an RPNHead whose loss_cls has use_sigmoid=True, a '
             'StandardRoIHead or CascadeRoIHead with softmax box heads, FCNMaskHead, and samplers such as RandomSampler; and '
             'RetinaNet, ATSS, GFL and RTMDet with a sigmoid over the classes')

# What is read of each part, or hooked into.
_PREDICT = ('forward', 'loss', 'loss_by_feat', 'predict_by_feat')
_FLOW = {
    TwoStageDetector: ('loss', 'predict', 'extract_feat'),
    SingleStageDetector: ('loss', 'predict', 'extract_feat'),
    RPNHead: ('forward', 'loss', 'loss_by_feat', 'predict', '_predict_by_feat_single'),
    StandardRoIHead: ('loss', '_bbox_forward', 'bbox_loss', 'predict', 'predict_bbox', 'mask_loss', 'predict_mask'),
    CascadeRoIHead: ('loss', '_bbox_forward', 'bbox_loss', 'predict', 'predict_bbox', '_refine_roi', 'mask_loss',
                     'predict_mask'),
    BBoxHead: ('loss_and_target', 'get_targets', 'predict_by_feat', '_predict_by_feat_single', 'regress_by_class'),
    FCNMaskHead: ('forward', 'loss_and_target', 'get_targets', 'predict_by_feat', '_predict_by_feat_single'),
    **dict.fromkeys((RetinaHead, ATSSHead, GFLHead, RTMDetHead, RTMDetSepBNHead), _PREDICT),
}
_DETECTORS = (TwoStageDetector, SingleStageDetector)
_ROI_HEADS = (StandardRoIHead, CascadeRoIHead)
_DENSE_HEADS = (RTMDetSepBNHead, RTMDetHead, RetinaHead, GFLHead, ATSSHead)
_RPN_SAMPLER, _ROI_SAMPLER = 'model.train_cfg.rpn.sampler', 'model.train_cfg.rcnn.sampler'

Kinds = dict[str, list[Optional[type]]]
"""By the name of a part in the config its types, several of a cascade; of one that is not registered ``None``, as building it
tells that."""


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
    kind = type(detector) if built else _kind_in(detector)
    if kind is None:
        return
    if not issubclass(kind, _DETECTORS):
        yield f'{kind.__name__} is no detector with an RPN and a RoI head, nor one with a dense head'
        return
    names = ('rpn_head', 'roi_head') if issubclass(kind, TwoStageDetector) else ('bbox_head', )
    for name in names:
        if not (hasattr(detector, name) if built else detector.get(name)):
            yield f'{kind.__name__} has no model.{name}'
            return
    yield from _flow_reasons(kind, _DETECTORS, 'model')
    yield from (_two_stage_reasons if len(names) == 2 else _dense_reasons)(_kinds(detector))
    if not built:
        yield from _cascade_reasons(detector)
    if built:
        yield from (_built_two_stage if len(names) == 2 else _built_dense)(detector)


def _two_stage_reasons(kinds: Kinds) -> Iterator[str]:
    yield from _flow_reasons(*kinds['model.rpn_head'], (RPNHead, ), 'model.rpn_head')
    roi = kinds['model.roi_head'][0]
    yield from _flow_reasons(roi, _ROI_HEADS, 'model.roi_head')
    cascade = roi is not None and issubclass(roi, CascadeRoIHead)
    for where, base in (('model.roi_head.bbox_head', BBoxHead), ('model.roi_head.mask_head', FCNMaskHead)):
        if len(kinds[where]) > 1 and not cascade:
            yield f'{where} is a list, and model.roi_head a {roi.__name__ if roi else "RoI head"} with one of it'
        for kind in kinds[where]:
            yield from _flow_reasons(kind, (base, ), where)
    for where in (_RPN_SAMPLER, _ROI_SAMPLER):
        for part in (where, f'{where}.pos_sampler', f'{where}.neg_sampler'):
            for kind in kinds[part]:
                yield from _sampler_reasons(kind, part)


def _cascade_reasons(cfg: Mapping) -> Iterator[str]:
    """What a cascade's config does not say once a cascade stage."""
    roi = cfg.get('roi_head')
    kind = _kind_in(roi)
    if kind is None or not issubclass(kind, CascadeRoIHead):
        return
    number = roi.get('num_stages')
    parts = {'model.roi_head.bbox_head': roi.get('bbox_head'), 'model.roi_head.mask_head': roi.get('mask_head'),
             'model.roi_head.stage_loss_weights': roi.get('stage_loss_weights')}
    for name, part in parts.items():
        if isinstance(part, (list, tuple)) and len(part) != number:
            yield f'{name} has {len(part)} entries, and model.roi_head.num_stages = {number} asks for one a cascade stage'
    rcnn = (cfg.get('train_cfg') or {}).get('rcnn')
    if rcnn is not None and not (isinstance(rcnn, (list, tuple)) and len(rcnn) == number):
        found = f'has {len(rcnn)} entries' if isinstance(rcnn, (list, tuple)) else 'is no list'
        yield f'model.train_cfg.rcnn {found}, and model.roi_head.num_stages = {number} asks for one a cascade stage'


def _dense_reasons(kinds: Kinds) -> Iterator[str]:
    yield from _flow_reasons(*kinds['model.bbox_head'], _DENSE_HEADS, 'model.bbox_head')


def _built_two_stage(detector: nn.Module) -> Iterator[str]:
    """What only the settings tell, with every default in its place."""
    if not detector.rpn_head.use_sigmoid_cls:
        yield 'model.rpn_head.loss_cls has use_sigmoid=False, and a softmax RPN tells no objectness logit'
    for head in as_list(detector.roi_head.bbox_head):
        where = 'model.roi_head.bbox_head'
        if not (head.with_cls and head.with_reg):
            yield f'{where} has no classification or no box regression (with_cls, with_reg)'
        loss = head.loss_cls
        if getattr(loss, 'use_sigmoid', False) or head.custom_cls_channels:
            yield f'{where}.loss_cls, {type(loss).__name__}, is not a softmax over the classes and background'
        if head.bbox_coder.encode_size != 4:
            yield (f'{where}.bbox_coder, {type(head.bbox_coder).__name__}, writes a box in {head.bbox_coder.encode_size} '
                   'numbers instead of 4')
    if detector.roi_head.with_mask and detector.roi_head.share_roi_extractor:
        yield 'model.roi_head.mask_roi_extractor is None, so that masks are made of the RoI features of the boxes'


def _built_dense(detector: nn.Module) -> Iterator[str]:
    head = detector.bbox_head
    if not head.use_sigmoid_cls:
        yield f'model.bbox_head.loss_cls, {type(head.loss_cls).__name__}, is not a sigmoid over the classes (use_sigmoid=True)'


def _kinds(detector: Union[nn.Module, Mapping]) -> Kinds:
    """Types of a detector's parts, built or in its config."""
    if isinstance(detector, nn.Module):
        def get(part, name):
            return getattr(part, name, None)

        def kinds(part, registry):
            return [type(one) for one in (part if isinstance(part, list) else as_list(part))] or [None]
    else:
        def get(part, name):
            return part.get(name) if isinstance(part, Mapping) else None

        def kinds(part, registry):
            return [_kind_in(one, registry) for one in (part if isinstance(part, (list, tuple)) else [part])] or [None]

    rpn, roi = get(detector, 'rpn_head'), get(detector, 'roi_head')
    parts = {'model.rpn_head': rpn, 'model.bbox_head': get(detector, 'bbox_head'), 'model.roi_head': roi,
             'model.roi_head.bbox_head': get(roi, 'bbox_head'), 'model.roi_head.mask_head': get(roi, 'mask_head')}
    found = {name: kinds(part, MODELS) for name, part in parts.items()}
    if isinstance(detector, nn.Module):
        samplers = {_RPN_SAMPLER: get(rpn, 'sampler'), _ROI_SAMPLER: get(roi, 'bbox_sampler')}
    else:
        train = get(detector, 'train_cfg')
        rcnn = get(train, 'rcnn')
        several = isinstance(rcnn, (list, tuple))
        samplers = {_RPN_SAMPLER: get(get(train, 'rpn'), 'sampler'),
                    _ROI_SAMPLER: [get(one, 'sampler') for one in rcnn] if several else get(rcnn, 'sampler')}
    for name, sampler in samplers.items():
        several = sampler if isinstance(sampler, list) else [sampler]
        found[name] = kinds(several, TASK_UTILS)
        for part in ('pos_sampler', 'neg_sampler'):
            found[f'{name}.{part}'] = kinds([one for one in (get(sampler, part) for sampler in several) if one], TASK_UTILS)
    return found


def _kind_in(cfg: Any, registry: Registry = MODELS) -> Optional[type]:
    kind = cfg.get('type') if isinstance(cfg, Mapping) else None
    kind = registry.get(kind) if isinstance(kind, str) else kind
    return kind if inspect.isclass(kind) else None


def _flow_reasons(kind: Optional[type], bases: tuple[type, ...], where: str) -> Iterator[str]:
    """Why a part does not do what the nearest of ``bases`` does."""
    if kind is None:
        return
    base = next((base for base in kind.__mro__ if base in bases), None)
    if base is None:
        names = [base.__name__ for base in bases]
        yield f'{where} is a {kind.__name__}, not a {" or ".join(filter(None, (", ".join(names[:-1]), names[-1])))}'
        return
    own = next((name for name in _FLOW[base] if _method(kind, name) is not getattr(base, name)), None)
    if own:
        yield f'{where} is a {kind.__name__}, whose {own}() is another than that of {base.__name__}'


def _method(kind: type, name: str) -> Any:
    """A class's own method, past a student's ``loss``, which calls the one behind it."""
    owners = [base for base in kind.__mro__ if name in vars(base)]
    return vars(owners[1 if 'calls_stock_loss' in vars(owners[0]) else 0])[name]


def _sampler_reasons(kind: Optional[type], where: str) -> Iterator[str]:
    if kind is None:  # none is needed where nothing is trained
        return
    if issubclass(kind, (MultiInsRandomSampler, MaskPseudoSampler)):
        yield f'{where} is a {kind.__name__}, which gives no plain sampling result'
    methods = (getattr(kind, method, None) for method in ('sample', '_sample_pos', '_sample_neg'))
    if any(method and 'feats' in inspect.signature(method).parameters for method in methods):
        yield (f'{where} is a {kind.__name__}, which samples by features: it passes RoIs through the head beside those that '
               'are trained')
