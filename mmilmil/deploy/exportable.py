"""Which detectors the plain form (:mod:`mmilmil.deploy.plain`) computes as stock MMDetection; others are refused by name."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmcv.ops import RoIAlign
from mmcv.ops import nms as mmcv_nms
from mmdet.models.dense_heads import GFLHead, RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from mmdet.models.task_modules.prior_generators import AnchorGenerator, MlvlPointGenerator
from torch import nn

from ..errors import InputError
from ..models.heads import as_list

_NMS = dict(type=('nms', mmcv_nms), offset=(0, ), score_threshold=(0, ), max_num=(-1, ))
"""Settings of NMS that may only have these values."""
_NMS_FREE = ('iou_threshold', 'class_agnostic', 'split_thr')
_SPLIT = 10000
"""mmcv's ``split_thr``: from so many boxes on the groups are gone through one by one."""


def check_exportable(detector: nn.Module, whose: str) -> None:
    """Stop where a part or a setting of a detector is none that can be exported.

    Args:
        detector: A built detector that :func:`mmilmil.models.supported.check_supported` accepts.
        whose: Whose it is, for the message, as ``the detector of w.pth``.

    Raises:
        InputError: names the part, its value and what can be exported.
    """
    reason = next(_reasons(detector), None)
    if reason:
        raise InputError(f'{whose} cannot be exported: {reason}')


def _reasons(detector: nn.Module) -> Iterator[str]:
    for name, module in detector.named_modules():
        if type(module).__module__.startswith('mmcv.ops') and not isinstance(module, RoIAlign):
            yield f'model.{name} is a {type(module).__name__}, which ONNX has no operator for'
    if not hasattr(detector, 'rpn_head'):
        yield from _dense_reasons(detector.bbox_head, 'model.bbox_head')
        yield from _test_reasons(detector.bbox_head.test_cfg, 'model.test_cfg', ('nms_pre', 'max_per_img'))
        cfg = detector.bbox_head.test_cfg
        if cfg.get('min_bbox_size', -1) > 0:
            yield (f'model.test_cfg.min_bbox_size = {cfg.min_bbox_size} is in pixels of the image file, which an exported '
                   'model does not know: set it to 0')
        number = cfg.nms_pre * detector.bbox_head.prior_generator.num_levels
        yield from _offset_reasons(detector.bbox_head, cfg.nms, number, 'model.bbox_head')
        return
    roi = detector.roi_head
    if roi.with_mask:
        yield 'model.roi_head has a mask_head, and masks are not exported'
    yield from _dense_reasons(detector.rpn_head, 'model.rpn_head')
    yield from _test_reasons(detector.rpn_head.test_cfg, 'model.test_cfg.rpn', ('max_per_img', ))
    yield from _test_reasons(roi.test_cfg, 'model.test_cfg.rcnn', ('max_per_img', ))
    for extractor in as_list(roi.bbox_roi_extractor):
        yield from _extractor_reasons(extractor)
    number = detector.rpn_head.test_cfg.max_per_img
    for head in as_list(roi.bbox_head):
        where = 'model.roi_head.bbox_head'
        yield from _coder_reasons(head.bbox_coder, DeltaXYWHBBoxCoder, where)
        yield from _offset_reasons(head, roi.test_cfg.nms, number * head.num_classes, where)


def _dense_reasons(head: nn.Module, where: str) -> Iterator[str]:
    base = next(kind for kind in (RPNHead, GFLHead, BaseDenseHead) if isinstance(head, kind))
    for name in ('_predict_by_feat_single', '_bbox_post_process'):
        if getattr(type(head), name) is not getattr(base, name):
            yield f'{where} is a {type(head).__name__}, whose {name}() is another than that of {base.__name__}'
    generator = head.prior_generator
    known = next((kind for kind in (AnchorGenerator, MlvlPointGenerator) if isinstance(generator, kind)), None)
    method = 'single_level_grid_priors'
    if known is None or getattr(type(generator), method) is not getattr(known, method):
        yield (f'{where}.anchor_generator is a {type(generator).__name__}: AnchorGenerator and MlvlPointGenerator can be '
               'exported')
    elif getattr(generator, 'use_box_type', False):
        yield f'{where}.anchor_generator.use_box_type = True: boxes are plain tensors in an exported model'
    points = isinstance(head, GFLHead) or known is MlvlPointGenerator
    yield from _coder_reasons(head.bbox_coder, DistancePointBBoxCoder if points else DeltaXYWHBBoxCoder, where)
    if getattr(head.loss_cls, 'custom_cls_channels', False):
        yield f'{where}.loss_cls, {type(head.loss_cls).__name__}, makes scores of its own'


def _coder_reasons(coder: Any, kind: type, where: str) -> Iterator[str]:
    if getattr(type(coder), 'decode', None) is not kind.decode:
        yield f'{where}.bbox_coder is a {type(coder).__name__}, not a {kind.__name__}'


def _extractor_reasons(extractor: nn.Module) -> Iterator[str]:
    where, kind = 'model.roi_head.bbox_roi_extractor', type(extractor)
    if any(getattr(kind, name, None) is not getattr(SingleRoIExtractor, name) for name in ('forward', 'map_roi_levels')):
        yield f'{where} is a {kind.__name__}, not a SingleRoIExtractor'
    for layer in extractor.roi_layers:
        if type(layer) is not RoIAlign:
            yield f'{where}.roi_layer is a {type(layer).__name__}, not a RoIAlign'
        elif layer.pool_mode != 'avg' or layer.use_torchvision:
            name, value = ('pool_mode', layer.pool_mode) if layer.pool_mode != 'avg' else ('use_torchvision', True)
            yield f"{where}.roi_layer.{name} = {value!r}: mmcv's RoIAlign with pool_mode='avg' can be exported"


def _test_reasons(cfg: Mapping, where: str, positive: tuple[str, ...]) -> Iterator[str]:
    for name in positive:
        value = cfg.get(name)
        if not isinstance(value, int) or value < 1:
            yield f'{where}.{name} = {value}: an exported model needs a whole number above 0'
    nms = cfg.get('nms')
    if not isinstance(nms, Mapping):
        yield f"{where}.nms = {nms}: dict(type='nms', iou_threshold=...) can be exported"
        return
    for name, value in nms.items():
        if name in _NMS and value not in _NMS[name] or name not in (*_NMS, *_NMS_FREE):
            yield f"{where}.nms.{name} = {value!r}: dict(type='nms', iou_threshold=...) can be exported"
    threshold = nms.get('iou_threshold')
    if not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        yield f'{where}.nms.iou_threshold = {threshold}: give a number from 0 to 1'


def _offset_reasons(head: nn.Module, nms: Mapping, number: int, where: str) -> Iterator[str]:
    """Boxes outside the image can reach into the next group's place, which mmcv's two ways of suppression treat differently."""
    split = nms.get('split_thr', _SPLIT)
    if not head.bbox_coder.clip_border and not nms.get('class_agnostic', False) and number >= split:
        yield (f'{where}.bbox_coder.clip_border = False with up to {number} boxes in one suppression, {split} or more '
               '(nms.split_thr): set clip_border=True, or nms_pre lower')
