"""A detector small enough to run in milliseconds, its teacher and its input, all fixed by seed."""

import copy
import json
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

import mmilmil  # noqa: F401
from mmilmil.models import view_of
from mmilmil.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
OLD = ('ant', 'bee', 'cat')
SEEN = (*OLD, 'dog', 'emu')

# On top of configs/_base_/models/frcnn_r18_fpn_small.py.
SMALL = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(output_size=3), out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, roi_feat_size=3)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=32)),
        rpn_proposal=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(sampler=dict(num=16))),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50)))


def stock_cfg(num_classes: int, **changes) -> ConfigDict:
    """Model config of a stock Faster R-CNN; ``changes`` are merged into it."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/frcnn_r18_fpn_small.py')
    cfg.merge_from_dict(dict(model=SMALL))
    cfg.merge_from_dict(dict(model=dict(roi_head=dict(bbox_head=dict(num_classes=num_classes)))))
    cfg.merge_from_dict(dict(model=changes))
    return cfg.model


def student_cfg(checkpoint: Path, num_classes: int = len(SEEN), teacher: dict | None = None, **changes) -> ConfigDict:
    """Model config of a student taught by ``checkpoint``; by default with the full method's distiller and merging."""
    return taught(stock_cfg(num_classes), checkpoint, 'mfrrk', teacher, **changes)


def taught(stock: ConfigDict, checkpoint: Path, method: str, teacher: dict | None = None, **changes) -> ConfigDict:
    """A stock detector's config as that of a student taught by ``checkpoint``.

    Args:
        stock: The detector's.
        checkpoint: The teacher's file.
        method: File in configs/_base_/distillers that names distiller and merging.
        teacher: More settings of the teacher.
        changes: Merged into the result.
    """
    own = Config.fromfile(ROOT / f'configs/_base_/distillers/{method}.py')
    cfg = Config(dict(model=ConfigDict(stock, type=f'Incremental{stock.type}', distiller=own.distiller, merging=own.merging,
                                       teacher=dict(checkpoint=str(checkpoint), **(teacher or {})))))
    cfg.merge_from_dict(dict(model=copy.deepcopy(changes)))  # merging takes _delete_ out of it
    return cfg.model


# By kind of detector its small form in configs/_base_/models and what makes it tiny.
_TINY_DENSE = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1))
_TINY_CASCADE = {name: SMALL[name] for name in ('backbone', 'neck', 'rpn_head', 'test_cfg')}
_MASK = dict(
    mask_roi_extractor=dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=4), out_channels=16,
                            featmap_strides=[4, 8, 16, 32]),
    mask_head=dict(type='FCNMaskHead', in_channels=16, conv_out_channels=8, num_convs=1,
                   loss_mask=dict(type='CrossEntropyLoss', use_mask=True)))
_GN = dict(bbox_head=dict(norm_cfg=dict(num_groups=4)))
KINDS = {
    'frcnn': ('frcnn_r18_fpn_small', SMALL),
    'cascade': ('cascade_r18_fpn_small', _TINY_CASCADE),
    'maskrcnn': ('maskrcnn_r18_fpn_small', dict(SMALL, roi_head=dict(
        SMALL['roi_head'], mask_roi_extractor=dict(roi_layer=dict(output_size=4), out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=8, num_convs=1)), train_cfg=dict(
            SMALL['train_cfg'], rcnn=dict(SMALL['train_cfg']['rcnn'], mask_size=8)))),
    # Forms that no shipped config has: class-wise boxes, and masks in a cascade.
    'cascade_wise': ('cascade_r18_fpn_small', _TINY_CASCADE),
    'cascade_masks': ('cascade_r18_fpn_small', _TINY_CASCADE),
    'retinanet': ('retinanet_r18_fpn_small', _TINY_DENSE),
    'atss': ('atss_r18_fpn_small', _TINY_DENSE),
    'gfl': ('gfl_r18_fpn_small', _TINY_DENSE),
    'rtmdet': ('rtmdet_small', {}),
}


DENSE = ('retinanet', 'atss', 'gfl', 'rtmdet')
# What the names of the dense head's layers begin with.
DENSE_LAYERS = dict(retinanet='bbox_head.retina_', atss='bbox_head.atss_', gfl='bbox_head.gfl_', rtmdet='bbox_head.rtm_')


def distiller_of(kind: str) -> str:
    """The file in configs/_base_/distillers for a detector."""
    return {'gfl': 'dense_distribution'}.get(kind, 'dense' if kind in DENSE else 'mfrrk')


def detector_cfg(kind: str, num_classes: int, **changes) -> ConfigDict:
    """Model config of a tiny stock detector.

    Args:
        kind: One of :data:`KINDS`.
        num_classes: Of all its heads.
        changes: Merged into it.
    """
    base, small = KINDS[kind]
    cfg = Config.fromfile(ROOT / f'configs/_base_/models/{base}.py')
    cfg.merge_from_dict(dict(model=small))
    if kind.startswith('cascade'):
        cfg.model.roi_head.bbox_roi_extractor.update(out_channels=16)
        for head in cfg.model.roi_head.bbox_head:
            head.update(in_channels=16, fc_out_channels=16)
            head.reg_class_agnostic = kind != 'cascade_wise'
        for rcnn in cfg.model.train_cfg.rcnn:
            rcnn.sampler.num = 16
            rcnn.mask_size = 8
        if kind == 'cascade_masks':
            masks = copy.deepcopy(_MASK)
            cfg.model.roi_head.update(masks, mask_head=[copy.deepcopy(masks['mask_head']) for _ in range(3)])
            cfg.model.test_cfg.rcnn.mask_thr_binary = 0.5
            cfg.model.data_preprocessor.pad_mask = True
    if kind in ('atss', 'gfl'):
        cfg.merge_from_dict(dict(model=_GN))
    heads = cfg.model.get('roi_head') or cfg.model
    for name in ('bbox_head', 'mask_head'):
        head = heads.get(name) or []
        for one in head if isinstance(head, list) else [head]:
            one.num_classes = num_classes
    cfg.merge_from_dict(dict(model=changes))
    return cfg.model


def build(cfg: ConfigDict, seed: int = 0) -> torch.nn.Module:
    """The model of ``cfg``, initialised as the runner does."""
    init_default_scope('mmilmil')
    torch.manual_seed(seed)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


def shake(model: torch.nn.Module, seed: int = 0, amount: float = 0.3) -> torch.nn.Module:
    """Move every weight by noise relative to its tensor's size, so that nothing is equal by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight += amount * noise * weight.std(unbiased=False).clamp(min=0.05)
    return model


def teacher_file(path: Path, classes: tuple[str, ...] = OLD, cfg: ConfigDict | None = None, **meta) -> Path:
    """Write the checkpoint of a decided teacher: it finds objects, and some of its scores are near 1.

    Args:
        path: File to write.
        classes: Names for ``meta.dataset_meta``; empty for none.
        cfg: Model config, by default that of a stock detector of these classes.
        meta: More of the checkpoint's meta information.
    """
    cfg = cfg or stock_cfg(len(classes))
    text, weights = _teacher_content(json.dumps(cfg))
    meta = dict(cfg=text, **meta)
    if classes:
        meta['dataset_meta'] = dict(classes=classes, split=(len(classes), ))
    torch.save(dict(meta=meta, state_dict=weights), path)
    return path


@lru_cache
def _teacher_content(cfg: str) -> tuple[str, dict]:
    cfg = ConfigDict(json.loads(cfg))
    model = shake(build(cfg, seed=1), seed=1)
    with torch.no_grad():
        if hasattr(model, 'rpn_head'):
            model.rpn_head.rpn_cls.weight *= 20
            model.roi_head.bbox_head.fc_cls.weight *= 10
    return Config(dict(model=cfg)).pretty_text, model.state_dict()


def detector_file(path: Path, kind: str, **changes) -> Path:
    """Write the checkpoint of a tiny detector of the old classes that finds objects; ``changes`` are merged into its config."""
    cfg = detector_cfg(kind, len(OLD), **changes)
    model = shake(build(cfg, seed=1), seed=1)
    if kind in DENSE:
        _decide(model.eval(), f'{DENSE_LAYERS[kind]}cls')
    meta = dict(cfg=Config(dict(model=cfg)).pretty_text, dataset_meta=dict(classes=OLD, split=(len(OLD), )))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return path


@torch.no_grad()
def _decide(detector: torch.nn.Module, layers: str) -> None:
    """Scores that differ: most are low, and some stand out."""
    inputs, samples = batch()
    logits = view_of(detector).observe(inputs, [sample.metainfo for sample in samples], detect=False).logits
    factor = 1.5 / torch.cat([level.flatten() for level in logits]).std()
    for name, weight in detector.named_parameters():
        if name.startswith(layers):
            weight.copy_(weight * factor if 'weight' in name else torch.full_like(weight, -2.5))


TWO_IMAGES = (((3, 8., 8., 40., 40.), ), ((4, 30., 20., 60., 50.), (3, 4., 4., 28., 28.)))


# As (height, width); batched together they share a tensor of 96x96.
UNEQUAL = ((64, 90), (96, 60))


def batch(objects=TWO_IMAGES, ignored=(), shapes=None, seed: int = 0, masks: bool = False):
    """Input tensor and data samples, padded with zeros as the data preprocessor does: together, and to a multiple of 32.

    Args:
        objects: Of each image, as ``(label, x1, y1, x2, y2)``.
        ignored: Of each image, boxes not to be trained on.
        shapes: Of each image, (height, width) in pixels; by default all are 64x64.
        seed: Of the pixels.
        masks: Whether objects have masks: their whole boxes.

    Returns:
        (N, 3, H, W) and N data samples.
    """
    shapes = shapes or [(64, 64)] * len(objects)
    padded = [tuple(-(-side // 32) * 32 for side in shape) for shape in shapes]
    tensor_shape = tuple(map(max, zip(*padded)))
    pixels = torch.randn(len(objects), 3, *tensor_shape, generator=torch.Generator().manual_seed(seed))
    samples = []
    for index, found in enumerate(objects):
        height, width = shapes[index]
        pixels[index, :, height:], pixels[index, :, :, width:] = 0, 0
        sample = DetDataSample(metainfo=dict(
            img_shape=shapes[index], ori_shape=shapes[index], pad_shape=padded[index], batch_input_shape=tensor_shape,
            scale_factor=(1., 1.), img_id=index))
        sample.gt_instances = instances([box[1:] for box in found], [box[0] for box in found])
        if masks:
            bitmaps = np.zeros((len(found), *tensor_shape), dtype=np.uint8)
            for bitmap, (_, *box) in zip(bitmaps, found):
                x1, y1, x2, y2 = map(int, box)
                bitmap[y1:y2, x1:x2] = 1
            sample.gt_instances.masks = BitmapMasks(bitmaps, *tensor_shape)
        hidden = ignored[index] if index < len(ignored) else ()
        sample.ignored_instances = instances(hidden, [0] * len(hidden))
        samples.append(sample)
    return pixels, samples


def instances(bboxes, labels, scores=None) -> InstanceData:
    """Instances of plain numbers."""
    bboxes = torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4)
    found = InstanceData(bboxes=bboxes, labels=torch.tensor(labels).long())
    if scores is not None:
        found.scores = torch.tensor(scores, dtype=torch.float32)
    return found


BASE_CONFIG = """
_base_ = '{root}/configs/ilmil/{shipped}.py'
metainfo = dict(classes={old}, split={old_split})
data_root = '{data}'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask={masks}),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'homography_matrix')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(64, 64), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
model = {small}
loading = dict(batch_size=2, num_workers=0, persistent_workers=False)
train_dataloader = dict(**loading, dataset=dict(metainfo=metainfo, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(**loading, dataset=dict(
    metainfo=metainfo, data_root=data_root, pipeline=test_pipeline, ann_file='{test}'))
test_dataloader = dict(**loading, dataset=dict(metainfo=metainfo, data_root=data_root, pipeline=test_pipeline))
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = []
"""
# The shipped config with masks reads COCO files.
COCO_EVALUATORS = """
val_evaluator = dict(ann_file='{data}/coco/test.json')
test_evaluator = dict(ann_file='{data}/coco/test.json')
"""
STUDENT_CONFIG = """
_base_ = ['./base.py', '{root}/configs/_base_/distillers/{method}.py']
metainfo = dict(classes={seen}, split={split})
model = dict(
    type='Incremental{type}',
    teacher=dict(config='{{{{ fileDirname }}}}/base.py', checkpoint='{teacher}'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    **{heads})
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
"""
# Every class in every split; old objects do appear unlabelled in the second stage.
OBJECTS = {
    'one': [('ant', 5, 5, 30, 30), ('dog', 30, 30, 60, 60), ('bee', 40, 2, 60, 22)],
    'two': [('bee', 5, 5, 40, 30), ('emu', 10, 30, 40, 62)],
    'three': [('cat', 20, 20, 50, 55), ('dog', 2, 2, 20, 25)],
    'four': [('ant', 2, 30, 30, 60), ('cat', 30, 2, 62, 32), ('emu', 34, 34, 60, 60)],
}


def write_configs(folder: Path, data: Path, teacher: str = 'work_dirs/base/final.pth', old=OLD, seen=SEEN,
                  split=None, changes=None, kind: str = 'frcnn') -> tuple[Path, Path]:
    """Write ``base.py`` and ``student.py``, a first and a second stage that inherit the project's configs.

    Args:
        folder: Where to.
        data: VOC-style set, with splits train and test; for a detector with masks :func:`write_coco` has been called on it.
        teacher: The student's teacher.
        old, seen: Classes of the two stages.
        split: The student's groups, by default ``old`` and the rest.
        changes: Merged into the model's config.
        kind: One of :data:`KINDS`.
    """
    masks = kind == 'maskrcnn'
    small = detector_cfg(kind, len(old), **(changes or {})).to_dict()
    base = BASE_CONFIG.format(
        root=ROOT, shipped=f'{kind}_{"shapes" if masks else "pcb"}_4', old=tuple(old), old_split=(len(old), ), data=data,
        small=small, masks=masks, test='coco/test.json' if masks else 'ImageSets/Main/test.txt')
    (folder / 'base.py').write_text(base + (COCO_EVALUATORS.format(data=data) if masks else ''))
    (folder / 'student.py').write_text(STUDENT_CONFIG.format(
        root=ROOT, method=distiller_of(kind), type=small['type'], seen=tuple(seen),
        split=split or (len(old), len(seen) - len(old)), heads=_heads(kind, len(seen), changes), teacher=teacher))
    return folder / 'base.py', folder / 'student.py'


def _heads(kind: str, num_classes: int, changes) -> dict:
    """What a student's config says of its heads; lists are replaced, not merged."""
    cfg = detector_cfg(kind, num_classes, **(changes or {})).to_dict()
    heads = cfg.get('roi_head', cfg)
    heads = {name: heads[name] if isinstance(heads[name], list) else dict(num_classes=num_classes)
             for name in ('bbox_head', 'mask_head') if name in heads}
    return dict(roi_head=heads) if 'roi_head' in cfg else heads


def write_coco(data: Path) -> Path:
    """Write a VOC-style set's splits as COCO files in its folder ``coco`` as well, each object with a mask: its whole box.

    Returns:
        ``data``.
    """
    (data / 'coco').mkdir()
    classes = {}
    for split in ('train', 'test'):
        images, annotations = [], []
        for name in (data / f'ImageSets/Main/{split}.txt').read_text().split():
            root = ElementTree.parse(data / f'Annotations/{name}.xml').getroot()
            size = [int(root.find(f'size/{side}').text) for side in ('width', 'height')]
            images.append(dict(id=len(images) + 1, file_name=f'{name}.jpg', width=size[0], height=size[1]))
            for found in root.iter('object'):
                x1, y1, x2, y2 = (int(found.find(f'bndbox/{side}').text) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
                annotations.append(dict(
                    id=len(annotations) + 1, image_id=len(images), bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1),
                    category_id=classes.setdefault(found.find('name').text, len(classes) + 1), iscrowd=0,
                    segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]))
        categories = [dict(id=number, name=name) for name, number in classes.items()]
        content = dict(images=images, annotations=annotations, categories=categories)
        (data / f'coco/{split}.json').write_text(json.dumps(content))
    return data
