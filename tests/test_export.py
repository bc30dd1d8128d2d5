"""From a detector to ONNX: the plain form computes what the stock detector does, and ONNX Runtime what the plain form does."""

import copy
import hashlib
import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from conftest import make_voc
from mmcv.ops import batched_nms
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from test_pruning import pruned
from tiny import KINDS, OBJECTS, OLD, build, detector_cfg, detector_file, write_configs

from mmilmil import InputError
from mmilmil.deploy import export as exporter
from mmilmil.deploy import packages, parity
from mmilmil.deploy.export import INPUTS, OUTPUTS, add_metadata, to_onnx
from mmilmil.deploy.exportable import check_exportable
from mmilmil.deploy.folder import check_replaceable, whole_folder
from mmilmil.deploy.images import images_of
from mmilmil.deploy.model import fitted
from mmilmil.deploy.operators import INVALID, suppress
from mmilmil.deploy.parity import difference, predicted
from mmilmil.deploy.plain import level_of, plain_detector
from mmilmil.deploy.preparation import preparation_of
from mmilmil.models.loading import load_detector
from mmilmil.runtime import Detector
from mmilmil.runtime.metadata import Metadata, Padding, Resizing
from mmilmil.stock import full_model_cfg

# Two levels are as good as four here, and exported in a third of the time.
TWO_LEVELS = dict(backbone=dict(num_stages=1, strides=(1, ), dilations=(1, ), out_indices=(0, )),
                  neck=dict(in_channels=[8], num_outs=2))
FEW = {
    **{kind: dict(TWO_LEVELS, rpn_head=dict(anchor_generator=dict(strides=[4, 8])),
                  roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4, 8], finest_scale=16)))
       for kind in ('frcnn', 'cascade_wise')},
    **{kind: dict(TWO_LEVELS, neck=dict(TWO_LEVELS['neck'], start_level=0, add_extra_convs=False),
                  bbox_head=dict(anchor_generator=dict(strides=[4, 8]))) for kind in ('retinanet', 'atss', 'gfl')},
    # It gives many boxes one score, so nothing is cut off.
    'rtmdet': dict(bbox_head=dict(stacked_convs=1), test_cfg=dict(max_per_img=5000)),
}
# RoIAlign with as many samples as fit, of the old kind too, and suppression of all classes by one another.
FEW['cascade_wise']['roi_head']['bbox_roi_extractor']['roi_layer'] = dict(sampling_ratio=0, aligned=False)
FEW['gfl']['test_cfg'] = dict(nms=dict(class_agnostic=True))
EXPORTED = tuple(FEW)
DYNAMIC = ('frcnn', 'retinanet', 'gfl')


@pytest.fixture(scope='module')
def detectors(tmp_path_factory):
    """``detectors(kind)`` is a tiny detector that finds objects, with few levels; Faster R-CNN's is pruned."""
    folder, known = tmp_path_factory.mktemp('detectors'), {}

    def get(kind):
        if kind not in known:
            path = detector_file(folder / f'{kind}.pth', kind, **FEW.get(kind, {}))
            known[kind] = load_detector(str(path))[0].eval()
            if kind == 'frcnn':
                known[kind] = pruned(known[kind].requires_grad_(True))[1]
        return known[kind]

    return get


@pytest.fixture(scope='module')
def exported(detectors):
    """``exported(kind)`` is its detector as an ONNX model of 96x64, or of any size for those in ``DYNAMIC``."""
    known = {}

    def get(kind):
        if kind not in known:
            known[kind] = to_onnx(detectors(kind), None if kind in DYNAMIC else (96, 64), 32, 'the detector')
        return known[kind]

    return get


def image(height, width, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def metadata(**changes):
    values = dict(
        detector='FasterRCNN', classes=OLD, split=(3, ), checkpoint_sha256='0' * 64, config='base.py',
        resize=Resizing((64, 96), True), pad=Padding(32, None, (0.0, ) * 3), mean=None, std=None, channels='rgb',
        input_size=(96, 64), score_thr=0.05, max_per_img=100)
    return Metadata(**{**values, **changes})


@pytest.fixture
def opened(tmp_path):
    """``opened(model)`` is a model in the runtime."""

    def get(model, given=None):
        model = copy.deepcopy(model)
        add_metadata(model, given or metadata())
        onnx.checker.check_model(model)
        (tmp_path / 'model.onnx').write_bytes(model.SerializeToString())
        return Detector(tmp_path, threads=1)

    return get


# The plain form


def assert_equal_to_predict(detector, height=96, width=64, shape=(90, 60), seed=0):
    with torch.no_grad():
        wanted = predicted(detector, image(height, width, seed), shape)
        found = plain_detector(detector)(image(height, width, seed), torch.tensor(shape))
    found = tuple(one.numpy() for one in found)
    for mine, theirs in zip(by_score(found), by_score(wanted), strict=True):
        assert np.array_equal(mine, theirs)
    assert (np.diff(found[1]) <= 0).all()
    return len(wanted[1])


def by_score(found):
    """The detections, those of one score in the order of their boxes, which stock MMDetection leaves open."""
    order = np.lexsort((*found[0].T, found[2], found[1]))
    return tuple(one[order] for one in found)


@pytest.mark.parametrize('kind', sorted(set(KINDS) - {'maskrcnn', 'cascade_masks'}))
def test_equals_predict(detectors, kind):
    assert sum(assert_equal_to_predict(detectors(kind), seed=seed) for seed in range(3)) > 10
    assert_equal_to_predict(detectors(kind), 64, 128, (33, 127))


SETTINGS = {
    'class_agnostic': ('frcnn', dict(test_cfg=dict(rcnn=dict(nms=dict(class_agnostic=True, iou_threshold=0.2))))),
    'few': ('frcnn', dict(test_cfg=dict(rpn=dict(max_per_img=7), rcnn=dict(max_per_img=3)))),
    'all': ('frcnn', dict(test_cfg=dict(rpn=dict(nms_pre=-1)))),
    'small_proposals': ('frcnn', dict(test_cfg=dict(rpn=dict(min_bbox_size=12)))),
    'not_clipped': ('frcnn', dict(roi_head=dict(bbox_head=dict(bbox_coder=dict(clip_border=False))))),
    'one_level': ('frcnn', dict(roi_head=dict(bbox_roi_extractor=dict(featmap_strides=[4])))),
    'legacy_align': ('frcnn', dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(aligned=False, sampling_ratio=0))))),
    'nothing': ('retinanet', dict(test_cfg=dict(score_thr=0.9999))),
    'no_proposal': ('frcnn', dict(test_cfg=dict(rpn=dict(min_bbox_size=1000)))),
    'dense_agnostic': ('atss', dict(test_cfg=dict(nms=dict(class_agnostic=True), nms_pre=20, max_per_img=5))),
    'offset': ('rtmdet', dict(bbox_head=dict(anchor_generator=dict(offset=0.5)))),
}


@pytest.mark.parametrize('name', SETTINGS)
def test_settings_count(tmp_path, name):
    kind, changes = SETTINGS[name]
    path = detector_file(tmp_path / 'w.pth', kind, **changes)
    number = assert_equal_to_predict(load_detector(str(path))[0].eval())
    assert (number == 0) is (name in ('nothing', 'no_proposal'))


def test_levels_of_boxes_are_those_of_the_extractor(detectors):
    extractor = build(detector_cfg('frcnn', 3)).roi_head.bbox_roi_extractor
    sides = torch.cat([torch.rand(200) * 600, torch.tensor([0.0, 56.0, 112.0, 224.0, 448.0, 896.0])])
    boxes = torch.stack([torch.zeros_like(sides), torch.zeros_like(sides), sides, sides], dim=1)
    levels = level_of(boxes, extractor.finest_scale, 4)
    assert torch.equal(levels, extractor.map_roi_levels(torch.cat([sides[:, None], boxes], dim=1), 4))
    assert levels[-5:].tolist() == [0, 1, 2, 3, 3]


def test_suppression_is_that_of_many_boxes_too():
    """Where mmcv goes through the groups one by one."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(400, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + 5 + torch.rand(400, 2, generator=generator) * 30], dim=1)
    scores, groups = torch.rand(400, generator=generator), torch.randint(0, 4, (400, ), generator=generator)
    wanted = batched_nms(boxes, scores, groups, dict(type='nms', iou_threshold=0.4, split_thr=10))[1]
    assert torch.equal(suppress(boxes, scores, groups, 0.4, False, 1000), wanted)
    assert torch.equal(suppress(boxes, scores, groups, 0.4, False, 5), wanted[:5])
    assert not len(suppress(boxes, torch.full_like(scores, INVALID), groups, 0.4, False, 5))


# What ONNX Runtime computes


def assert_runs_alike(detector, model, height, width, shape, seed=0):
    pixels = image(height, width, seed)
    with torch.no_grad():
        wanted = predicted(detector, pixels, shape)
    found = model.run(pixels.numpy(), np.array(shape))
    assert [one.dtype for one in found] == [np.float32, np.float32, np.int64] and len(found[1]) == len(wanted[1])
    told = difference(wanted, found, 0.05, 100)
    assert not told.others and not told.at_threshold
    return len(wanted[1])


@pytest.mark.parametrize('kind', EXPORTED)
def test_onnx_equals_torch(detectors, exported, opened, kind):
    model = opened(exported(kind))
    assert sum(assert_runs_alike(detectors(kind), model, 96, 64, (90, 60), seed) for seed in range(3)) > 10
    assert assert_runs_alike(detectors(kind), model, 96, 64, (0, 0)) == 0 or kind not in ('frcnn', 'cascade_wise')
    if kind in DYNAMIC:
        for height, width in ((64, 64), (32, 160), (256, 224)):
            assert_runs_alike(detectors(kind), model, height, width, (height - 3, width - 20))


@pytest.mark.parametrize('kind', EXPORTED)
def test_the_file_is_plain(exported, kind):
    model = exported(kind)
    assert {node.domain for node in model.graph.node} == {''} and not model.functions
    assert [(one.domain, one.version >= 18) for one in model.opset_import] == [('', True)]
    assert tuple(one.name for one in model.graph.input) == INPUTS and tuple(one.name for one in model.graph.output) == OUTPUTS
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count('NonMaxSuppression') == (2 if kind in ('frcnn', 'cascade_wise') else 1)
    assert kinds.count('RoiAlign') == dict(frcnn=2, cascade_wise=6).get(kind, 0)
    assert b'/site-packages/' not in model.SerializeToString()  # no paths of the machine that made it
    sides = [side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ([1, 3, 0, 0] if kind in DYNAMIC else [1, 3, 96, 64])


def test_metadata_travels(exported, opened):
    given = metadata(split=(2, 1), mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), pad=Padding(None, (96, 64), (0.5, 0.0, 1.0)))
    assert opened(exported('atss'), given).metadata == given


def test_image_fits():
    pixels = torch.ones(1, 3, 32, 64)
    padded = fitted(pixels, metadata(pad=Padding(32, None, (7.0, 8.0, 9.0))), 'a.jpg')
    assert padded.shape == (1, 3, 96, 64) and torch.equal(padded[:, :, :32], pixels)
    assert padded[0, :, 95, 63].tolist() == [7.0, 8.0, 9.0]
    assert fitted(pixels, metadata(input_size=None), 'a.jpg') is pixels
    with pytest.raises(InputError, match='a.jpg is 128x64 after the test pipeline, and the model takes 96x64: .*--dynamic'):
        fitted(torch.ones(1, 3, 128, 64), metadata(), 'a.jpg')


# What cannot be exported

REFUSED = {
    'soft_nms': ('frcnn', dict(test_cfg=dict(rcnn=dict(nms=dict(type='soft_nms')))),
                 r"model.test_cfg.rcnn.nms.type = 'soft_nms'"),
    'nms_setting': ('atss', dict(test_cfg=dict(nms=dict(offset=1))), r'model.test_cfg.nms.offset = 1'),
    'no_nms': ('gfl', dict(test_cfg=dict(nms=None)), r'model.test_cfg.nms = None'),
    'threshold': ('frcnn', dict(test_cfg=dict(rpn=dict(nms=dict(iou_threshold=2)))),
                  r'model.test_cfg.rpn.nms.iou_threshold = 2'),
    'nms_pre': ('retinanet', dict(test_cfg=dict(nms_pre=-1)), r'model.test_cfg.nms_pre = -1'),
    'max_per_img': ('frcnn', dict(test_cfg=dict(rcnn=dict(max_per_img=-1))), r'model.test_cfg.rcnn.max_per_img = -1'),
    'min_bbox_size': ('retinanet', dict(test_cfg=dict(min_bbox_size=4)), r'model.test_cfg.min_bbox_size = 4'),
    'split': ('retinanet', dict(test_cfg=dict(nms_pre=9000), bbox_head=dict(bbox_coder=dict(clip_border=False))),
              r'model.bbox_head.bbox_coder.clip_border = False with up to 36000'),
    'masks': ('maskrcnn', {}, r'model.roi_head has a mask_head'),
    'pooling': ('frcnn', dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(_delete_=True, type='RoIPool',
                                                                                 output_size=3)))), r'RoIPool'),
    'max_pooling': ('frcnn', dict(roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(pool_mode='max')))),
                    r"roi_layer.pool_mode = 'max'"),
    'extractor': ('frcnn', dict(roi_head=dict(bbox_roi_extractor=dict(type='GenericRoIExtractor'))),
                  r'bbox_roi_extractor is a GenericRoIExtractor'),
    'deformable': ('frcnn', dict(neck=dict(in_channels=[32, 64, 128, 256]), backbone=dict(
        depth=50, dcn=dict(type='DCNv2', deform_groups=1), stage_with_dcn=(False, True, True, True))),
                   r'model.backbone.layer2.0.conv2 is a ModulatedDeformConv2dPack'),
    'coder': ('retinanet', dict(bbox_head=dict(bbox_coder=dict(type='LegacyDeltaXYWHBBoxCoder'))),
              r'model.bbox_head.bbox_coder is a LegacyDeltaXYWHBBoxCoder'),
    'anchors': ('retinanet', dict(bbox_head=dict(anchor_generator=dict(use_box_type=True))), r'use_box_type = True'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_by_name(name):
    kind, changes, told = REFUSED[name]
    with pytest.raises(InputError, match=f'^w.pth cannot be exported: .*{told}'):
        check_exportable(build(detector_cfg(kind, 3, **changes)), 'w.pth')


class Deciding(torch.nn.Module):
    """Computes by the values of the image."""

    def forward(self, values):
        return values if values.mean().item() > 0 else -values


def test_layer_that_torch_cannot_export(detectors, capfd):
    detector = copy.deepcopy(detectors('frcnn'))
    detector.backbone.relu = Deciding()
    for size, told in ((None, ' with any size: it fails in model.backbone.relu, Deciding .*: give --size HEIGHT WIDTH'),
                       ((64, 64), ': it fails in model.backbone.relu, Deciding .*: it has a layer')):
        with pytest.raises(InputError, match=f'w.pth, FasterRCNN, cannot be exported{told}'):
            to_onnx(detector, size, 32, 'w.pth')
    assert 'torch.ops' not in capfd.readouterr().err


# The images that a model is made for


def config(model=None, **steps):
    """A config whose test pipeline has these steps besides loading; ``model`` goes into the data preprocessor."""
    pipeline = [dict(type='LoadImageFromFile', **steps.pop('load', {})), dict(type='Resize', scale=(100, 60), keep_ratio=True)]
    pipeline += [dict(step) for step in steps.pop('more', ())] + [dict(type='PackDetInputs')]
    pipeline[1].update(steps.pop('resize', {}))
    preprocessor = {**dict(type='DetDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 8.0], bgr_to_rgb=True,
                           pad_size_divisor=32), **(model or {})}
    return Config(dict(model=dict(data_preprocessor=preprocessor), val_dataloader=dict(dataset=dict(pipeline=pipeline))))


def padded_first():
    cfg = config(more=[dict(type='Pad', size=(160, 96))])
    steps = cfg.val_dataloader.dataset.pipeline
    steps[1], steps[2] = steps[2], steps[1]
    return cfg


def test_preparation_is_read():
    found = preparation_of(config())
    assert (found.resize, found.pad) == (Resizing((100, 60), True), Padding(32, None, (0.0, 0.0, 0.0)))
    assert (found.mean, found.std, found.channels) == ((1.0, 2.0, 3.0), (2.0, 4.0, 8.0), 'rgb')
    assert found.size == (64, 128)
    assert preparation_of(config(resize=dict(scale=(60, 100)))).size == (64, 128)
    assert preparation_of(config(resize=dict(scale=(60, 100), keep_ratio=False))).size == (128, 64)


def test_padding_of_the_pipeline():
    """A value in the file's order, blue first, before normalisation: red 30, green 20, blue 10."""
    found = preparation_of(config(more=[dict(type='Pad', size=(160, 96), pad_val=dict(img=(10, 20, 30)))]))
    assert found.pad == Padding(32, (96, 160), ((30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8)) and found.size == (96, 160)


@pytest.mark.parametrize(('cfg', 'told'), [
    (config(more=[dict(type='CenterCrop', crop_size=9)]), 'has a CenterCrop, which the runtime'),
    (config(load=dict(color_type='grayscale')), "LoadImageFromFile.color_type = 'grayscale'"),
    (config(resize=dict(interpolation='nearest')), "Resize.interpolation = 'nearest'"),
    (config(resize=dict(scale=None)), 'Resize.scale = None'),
    (config(more=[dict(type='Resize', scale=(5, 5))]), 'has 2 Resize'),
    (padded_first(), 'has Pad before Resize, and the runtime of an exported model pads what is resized: put Pad behind'),
    (config(more=[dict(type='Pad', size_divisor=32)]), 'Pad.size_divisor = 32'),
    (config(more=[dict(type='Pad', size=(100, 100))]), 'is no multiple of model.data_preprocessor.pad_size_divisor = 32'),
    (config(model=dict(type='ReIDDataPreprocessor')), 'is a ReIDDataPreprocessor'),
])
def test_other_preparations_are_refused(cfg, told):
    with pytest.raises(InputError, match=told.replace('(', r'\(')):
        preparation_of(cfg)


# What is told of a difference


def detections(*rows):
    boxes, scores, labels = zip(*rows) if rows else ((), (), ())
    return (np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64))


BOX = (1, 1, 9, 9)


@pytest.mark.parametrize(('wanted', 'found', 'others', 'at_threshold'), [
    ([(BOX, .5, 0)], [((1, 1, 9, 9.009), .50009, 0)], 0, 0),
    ([(BOX, .5, 0)], [(BOX, .5, 1)], 2, 0),
    ([(BOX, .5, 0)], [((1, 1, 9, 9.02), .5, 0)], 2, 0),
    ([(BOX, .5, 0)], [(BOX, .501, 0)], 2, 0),
    ([(BOX, .5, 0), (BOX, .5, 1)], [(BOX, .5, 1), (BOX, .5, 0)], 0, 0),
    ([(BOX, .5, 0), (BOX, .5, 0)], [(BOX, .5, 0)], 1, 0),
    ([(BOX, .5, 0), (BOX, .05004, 1)], [(BOX, .5, 0)], 0, 1),
    ([], [(BOX, .5, 0)], 1, 0),
    # A full list: which of two equal scores comes last is open.
    ([(BOX, .9, 0), (BOX, .8, 0), (BOX, .3, 1)], [(BOX, .9, 0), (BOX, .8, 0), (BOX, .3, 2)], 0, 2),
    ([], [], 0, 0),
])
def test_differences(wanted, found, others, at_threshold):
    told = difference(detections(*wanted), detections(*found), score_thr=.05, max_per_img=3)
    assert (len(told.others), told.at_threshold) == (others, at_threshold)
    if wanted and not others and not at_threshold:
        assert told.box <= .01 and told.score <= 1e-4


# BOX where noise has moved it, and another box.
LIKE, FAR = (1, 1, 9, 9.05), (1, 1, 9, 9.5)


# `noisy` has torch's lists, and where it is not `found` a list of the model's with each.
@pytest.mark.parametrize(('wanted', 'found', 'noisy', 'others', 'by_noise'), [
    # Of two boxes one suppresses the other, or not: torch does both.
    ([(BOX, .5, 0)], [(FAR, .45, 0)], [[(BOX, .5, 0)], [(FAR, .45, 0)]], 0, 2),
    ([(BOX, .5, 0)], [(FAR, .45, 0)], [[(BOX, .5, 0)], [(LIKE, .5005, 0)]], 2, 0),
    # What torch always finds is missing, or what it never does is there.
    ([(BOX, .5, 0)], [], [[(BOX, .5, 0)], [(LIKE, .5005, 0)]], 1, 0),
    ([(BOX, .5, 0)], [], [[(BOX, .5, 0)], []], 0, 1),
    ([], [(BOX, .5, 0)], [[], [(BOX, .5, 1)], [(FAR, .5, 0)]], 1, 0),
    ([], [(BOX, .5, 0)], [[], ([(LIKE, .5, 0)], [(LIKE, .5, 0)])], 0, 1),
    # Or the model does both, and torch never.
    ([(BOX, .5, 0)], [(FAR, .45, 0)], [[(BOX, .5, 0)], ([(LIKE, .5, 0)], [(LIKE, .5, 0)])], 0, 2),
    # Both a little moved, always: no noise explains that.
    ([(BOX, .5, 0)], [((1, 1, 9, 9.02), .5, 0)], [[(BOX, .5, 0)], ([(LIKE, .5, 0)], [((1, 1, 9, 9.07), .5, 0)])], 2, 0),
    # Each by another noise.
    ([(BOX, .5, 0), (BOX, .4, 1)], [], [[(BOX, .5, 0)], [(BOX, .4, 1)]], 0, 2),
])
def test_noise_explains_on_what_both_agree_with_it(wanted, found, noisy, others, by_noise):
    pairs = (one if isinstance(one, tuple) else (one, found) for one in noisy)
    told = difference(detections(*wanted), detections(*found), .05, 3,
                      ((detections(*torchs), detections(*models)) for torchs, models in pairs))
    assert (len(told.others), told.by_noise) == (others, by_noise)


@pytest.mark.parametrize(('detections', 'by_noise', 'passes'), [(10, 5, True), (10, 6, False), (200, 10, True),
                                                               (200, 11, False)])
def test_noise_may_not_explain_everything(detections, by_noise, passes):
    found = parity.Parity('these', True, images=4, detections=detections, by_noise=by_noise)
    with nullcontext() if passes else pytest.raises(InputError, match=f'gains or loses {by_noise} of {detections} detections'):
        parity.check(found)


def test_noise_is_asked_for_only_as_long_as_it_may_explain():
    asked = iter([(detections(), detections())] * 3)
    difference(detections((BOX, .5, 0)), detections((BOX, .5, 0)), .05, 3, asked)
    assert len(list(asked)) == 3
    asked = iter([(detections(), detections())] * 3)
    difference(detections((BOX, .5, 0)), detections(), .05, 3, asked)
    assert len(list(asked)) == 2


def test_noise_is_in_grey_levels():
    pixels = torch.zeros(1, 3, 40, 40)
    runs = list(parity.with_noise(pixels, (1, 50, 100)))
    assert len(runs) == 8 and not torch.equal(runs[0], runs[1])
    largest = torch.stack(runs).abs().amax(dim=(0, 1, 3, 4))
    assert torch.allclose(largest, torch.tensor([1e-2, 2e-4, 1e-4]), rtol=.01)
    assert torch.equal(runs[0], next(parity.with_noise(pixels, (1, 50, 100))))
    assert next(parity.with_noise(pixels, None)).abs().max() > 9e-3


@pytest.mark.parametrize(('fitting', 'seconds', 'median'), [
    ((True, False, False), [5], 5),  # one image alone counts, although it prepares the others
    ((False, True, True, True), [9, 2, 4], 3),
    ((True, True, True), [9, 2, 4], 3),
])
def test_first_pass_does_not_count(monkeypatch, fitting, seconds, median):
    torchs, onnxs = iter(seconds), iter([10 * one for one in seconds])
    monkeypatch.setattr(parity, 'timed', lambda run, *args: (
        detections((BOX, .5, 0)), next(torchs if run is parity.predicted else onnxs)))
    images = [SimpleNamespace(name='a.jpg', pixels=torch.ones(1, 3, 96 if fits else 128, 64), shape=(96, 64))
              for fits in fitting]

    class Several(list):
        source, real, number = 'these', True, len(images)

    found = parity.compare(None, SimpleNamespace(metadata=metadata(), run=None), Several(images))
    assert (found.torch_ms, found.onnx_ms) == (1e3 * median, 1e4 * median)
    assert (found.images, found.left_out) == (sum(fitting), len(fitting) - sum(fitting))


# The folder


def test_folder_is_whole_or_as_before(tmp_path):
    out = tmp_path / 'deep/out'
    with pytest.raises(InputError), whole_folder(out, '--out') as folder:
        (folder / 'model.onnx').write_text('new')
        raise InputError('parity')
    assert not list(tmp_path.iterdir())
    for text in ('first', 'second'):
        with whole_folder(out, '--out') as folder:
            (folder / 'model.onnx').write_text(text)
        check_replaceable(out, '--out')
    assert (out / 'model.onnx').read_text() == 'second' and [path.name for path in out.parent.iterdir()] == ['out']
    with pytest.raises(KeyboardInterrupt), whole_folder(out, '--out'):
        raise KeyboardInterrupt
    assert (out / 'model.onnx').read_text() == 'second'
    (out / 'thesis.tex').write_text('')
    with pytest.raises(InputError, match='holds other files, such as thesis.tex'):
        check_replaceable(out, '--out')


@pytest.fixture
def earlier(tmp_path):
    """An export that is there already."""
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'model.onnx').write_text('earlier')
    return out


def left(out):
    """What stands in the folder of an export, and beside it."""
    return (out / 'model.onnx').read_text(), [path.name for path in out.parent.iterdir()]


@pytest.mark.parametrize('error', [PermissionError(13, 'Permission denied'), KeyboardInterrupt()])
def test_earlier_export_comes_back(earlier, monkeypatch, error):
    """Where the second of the two renames fails, or Ctrl-C falls between them."""
    rename = Path.rename

    def fails(path, target):
        if path.name == 'new':
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', fails)
    told = '--out .*/out cannot be replaced .*Permission denied' if isinstance(error, OSError) else None
    with pytest.raises((InputError, KeyboardInterrupt), match=told), whole_folder(earlier, '--out') as folder:
        (folder / 'model.onnx').write_text('new')
    assert left(earlier) == ('earlier', ['out'])


def test_earlier_export_that_cannot_come_back_is_kept(earlier, monkeypatch):
    """Another process has made the folder in between."""
    rename = Path.rename

    def fails(path, target):
        if path.name == 'new':
            (target / 'of_another').mkdir(parents=True)
        return rename(path, target)

    monkeypatch.setattr(Path, 'rename', fails)
    with pytest.raises(InputError, match='nor put back .*: the earlier export is .*/old now'), whole_folder(earlier, '--out'):
        pass
    (kept, ) = earlier.parent.glob('.out-*/old/model.onnx')
    assert kept.read_text() == 'earlier'


def test_files_that_came_meanwhile_are_kept(earlier):
    with pytest.raises(InputError, match='holds other files, such as notes.txt'), whole_folder(earlier, '--out'):
        (earlier / 'notes.txt').write_text('')
    assert left(earlier) == ('earlier', ['out']) and (earlier / 'notes.txt').exists()


def test_link_to_a_folder_stays_a_link(earlier, tmp_path):
    link = tmp_path / 'elsewhere/link'
    link.parent.mkdir()
    link.symlink_to(earlier)
    with whole_folder(link, '--out') as folder:
        (folder / 'model.onnx').write_text('new')
    assert link.is_symlink() and (earlier / 'model.onnx').read_text() == 'new' and list(link.parent.iterdir()) == [link]


def test_terminated_export_leaves_nothing_behind(earlier, monkeypatch):
    def before(number, frame):
        raise AssertionError('SIGTERM ends the process where it stands')

    kept = signal.signal(signal.SIGTERM, before)
    try:
        with pytest.raises(SystemExit) as caught, whole_folder(earlier, '--out'):
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, kept)
    assert caught.value.code == 143 and left(earlier) == ('earlier', ['out'])


def test_folders_that_cannot_be_replaced(earlier, monkeypatch):
    monkeypatch.chdir(earlier)
    for out in (Path('.'), earlier, Path('../out')):
        with pytest.raises(InputError, match='is the working directory, .*: name another, such as .*onnx$'):
            check_replaceable(out, '--out')
    monkeypatch.chdir('/')
    monkeypatch.setattr(os.path, 'ismount', lambda path: path == earlier)
    with pytest.raises(InputError, match=f'--out {earlier} is a mount point, .*: name one in it, such as {earlier}/onnx'):
        check_replaceable(earlier, '--out')
    monkeypatch.undo()
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path) != earlier.parent)  # root may write everywhere
    with pytest.raises(InputError, match=f'the folder of --out {earlier.parent} cannot be written'):
        check_replaceable(earlier, '--out')


# The tools


@pytest.fixture(scope='module')
def stage(tmp_path_factory, detectors):
    """A first stage's config and its student's, and the first stage's checkpoint, of a pruned Faster R-CNN; what is annotated
    are its own detections, so that it has an AP."""
    folder = tmp_path_factory.mktemp('stage')
    base, student = write_configs(folder, make_voc(folder / 'data', OBJECTS), changes=FEW['frcnn'])
    detector, checkpoint = detectors('frcnn'), folder / 'base.pth'
    init_default_scope('mmilmil')
    objects = {}
    for one in images_of(Config.fromfile(base), detector.data_preprocessor, 4):
        with torch.no_grad():
            boxes, _, labels = predicted(detector, one.pixels, one.shape)
        corners = [(OLD[label], *(int(side) + 1 for side in box)) for box, label in zip(boxes, labels)]
        objects[Path(one.name).stem] = [found for found in corners if found[3] > found[1] and found[4] > found[2]][:4]
    make_voc(folder / 'data', {name: objects[name] for name in OBJECTS})
    meta = dict(dataset_meta=dict(classes=OLD, split=(2, 1)), structure=detector.structure)
    torch.save(dict(meta=meta, state_dict=detector.state_dict()), checkpoint)
    return SimpleNamespace(folder=folder, base=base, student=student, checkpoint=checkpoint)


@pytest.fixture
def ready(stage, exported, monkeypatch):
    """The stage in its folder, its detector exported already: what the tool makes of the checkpoint has to fit that model."""
    model = exported('frcnn')
    monkeypatch.chdir(stage.folder)
    monkeypatch.setattr(exporter, 'to_onnx', lambda detector, size, *_: size or copy.deepcopy(model))
    monkeypatch.delattr(hashlib, 'file_digest', raising=False)  # Python 3.10 has none
    return stage


def test_tool_and_test_of_its_model(ready, tool):
    done = tool('export_onnx.py', 'base.py', ready.checkpoint, '--dynamic', '--out', 'out')
    assert done.status == 0, done.err
    report = json.loads((ready.folder / 'out/report.json').read_text())
    assert (ready.folder / 'out/report.md').read_text() in done.out
    assert report['parity']['images'] == 4 and report['parity']['unmatched'] == 0 and report['parity']['real']
    assert report['parity']['detections'] > 20 and 0 < report['parity']['box'] < 0.01
    assert report['parity']['torch_ms'] > 0 < report['parity']['onnx_ms']
    figures = report['ap']
    assert all('checkpoint' not in of_one for name, of_one in figures.items() if name != 'torch')  # a file that is gone
    assert figures['torch']['all'] > 0
    assert figures['torch']['per_class'] == pytest.approx(figures['onnx']['per_class'], abs=5e-4)
    model = Detector(ready.folder / 'out')
    assert (model.metadata.classes, model.metadata.split) == (OLD, (2, 1)) and model.metadata.config == 'base.py'
    assert model.metadata.input_size is None and model.metadata.resize == Resizing((64, 64), True)
    assert model.metadata.checkpoint_sha256 == hashlib.sha256(ready.checkpoint.read_bytes()).hexdigest()
    content = (ready.folder / 'out/model.onnx').read_bytes()
    assert report['model']['bytes'] == len(content)
    assert (ready.folder / 'out/SHA256SUMS').read_text() == f'{hashlib.sha256(content).hexdigest()}  model.onnx\n'

    done = tool('test.py', 'base.py', '--onnx', 'out', '--work-dir', 'tested')
    assert done.status == 0, done.err
    tested = json.loads((ready.folder / 'tested/metrics.json').read_text())
    assert tested['per_class'] == figures['onnx']['per_class'] and tested['checkpoint'].endswith('out/model.onnx')
    done = tool('test.py', 'base.py', '--onnx', 'out', '--backend', 'openvino', '--work-dir', 'by_openvino')
    assert done.status == 0, done.err
    assert json.loads((ready.folder / 'by_openvino/metrics.json').read_text())['all'] == pytest.approx(tested['all'], abs=5e-4)
    mean = 'model.data_preprocessor.mean=[0.0,0.0,0.0]'
    for flags, told in [(('student.py', '--onnx', 'out'), 'knows the classes'),
                        (('base.py', '--onnx', 'out', '--cfg-options', mean), 'another form: mean ='),
                        (('base.py', '--onnx', 'gone'), 'gone does not exist: give the folder'),
                        (('base.py', ready.checkpoint, '--onnx', 'out'), 'both were given'),
                        (('base.py', ), 'neither was given'),
                        (('base.py', '--onnx', 'out', '--fuse', ready.checkpoint), '--fuse puts checkpoints together')]:
        done = tool('test.py', *flags)
        assert done.status == 1 and told in done.err and 'Traceback' not in done.err, done.err


@pytest.mark.parametrize(('names', 'split', 'told'), [
    (dict(classes=OLD), [2, 1], None),  # as a pruned checkpoint was
    ({}, [2, 1], None),
    (dict(classes=OLD, split=(1, 2)), [2, 1], (1, 2)),
    (dict(classes=OLD), [2, 2], 'base.py: metainfo.split = (2, 2) sums to 4'),
    (dict(classes=OLD, split=(4, )), [2, 1], 'own.pth: dataset_meta.split = (4,) sums to 4'),
    (dict(classes=OLD[::-1]), [2, 1], "names the classes ['cat', 'bee', 'ant']"),
])
def test_groups_by_the_config_where_the_checkpoint_has_none(ready, tool, monkeypatch, names, split, told):
    content, found = torch.load(ready.checkpoint, weights_only=True), []
    content['meta']['dataset_meta'] = names
    torch.save(content, ready.folder / 'own.pth')

    def stop(graph, metadata):
        found.append(metadata)
        raise InputError('that is enough')

    monkeypatch.setattr(exporter, 'add_metadata', stop)
    done = tool('export_onnx.py', 'base.py', 'own.pth', '--out', 'never', '--cfg-options',
                f'test_dataloader.dataset.metainfo.split={str(split).replace(" ", "")}')
    if isinstance(told, str):
        assert done.status == 1 and told in done.err and not found
    else:
        assert 'that is enough' in done.err and (found[0].classes, found[0].split) == (OLD, told or (2, 1)), done.err


def test_model_that_finds_something_else(ready, tool, monkeypatch):
    real = parity.predicted

    def moved(detector, pixels, shape):
        boxes, scores, labels = real(detector, pixels, shape)
        return boxes + 0.02, scores, labels

    monkeypatch.setattr(parity, 'predicted', moved)
    done = tool('export_onnx.py', 'base.py', ready.checkpoint, '--dynamic', '--out', 'never', '--no-ap')
    assert done.status == 1 and 'does not find what torch finds' in done.err and '.jpg; nothing is kept' in done.err
    assert not [path for path in ready.folder.iterdir() if 'never' in path.name]


@pytest.mark.parametrize(('flags', 'told'), [
    (('--size', 100, 64), 'takes multiples of 32 (model.data_preprocessor.pad_size_divisor): give --size 128 64'),
    (('--out', 'data'), '--out data holds other files'),
    (('--out', 'base.py/out'), 'base.py is there and is none'),
    (('--cfg-options', 'model.test_cfg.rcnn.nms.type=soft_nms'), "model.test_cfg.rcnn.nms.type = 'soft_nms'"),
    (('--cfg-options', 'model.roi_head.bbox_head.num_classes=4'), 'does not fit its config'),
])
def test_bad_input(stage, tool, monkeypatch, flags, told):
    monkeypatch.chdir(stage.folder)
    done = tool('export_onnx.py', 'base.py', stage.checkpoint, '--out', 'never', *flags)
    assert done.status == 1 and told in done.err and 'Traceback' not in done.err, done.err
    assert not (stage.folder / 'never').exists()


def test_bad_checkpoint(stage, tool, monkeypatch):
    monkeypatch.chdir(stage.folder)
    (stage.folder / 'broken.pth').write_bytes(stage.checkpoint.read_bytes()[:1000])
    for name, told in (('gone.pth', 'gone.pth does not exist'), ('broken.pth', 'broken.pth cannot be read')):
        done = tool('export_onnx.py', 'base.py', name, '--out', 'never')
        assert done.status == 1 and told in done.err and not (stage.folder / 'never').exists()


def test_missing_packages_are_named(stage, tool, monkeypatch):
    monkeypatch.setattr(packages, 'find_spec', lambda name: None if name == 'onnxruntime' else name)
    done = tool('export_onnx.py', stage.base, stage.checkpoint, '--out', 'never')
    assert done.status == 1 and 'onnxruntime, which is not installed: `pip install onnxruntime`' in done.err


def test_drawn_images_where_there_are_none(stage):
    init_default_scope('mmilmil')
    cfg = Config.fromfile(stage.base)
    cfg.val_dataloader.dataset.data_root = str(stage.folder / 'elsewhere')
    images = images_of(cfg, build(full_model_cfg(ConfigDict(cfg.model))).data_preprocessor, 3)
    assert not images.real and images.source.startswith('drawn ones, as val_dataloader cannot be read')
    assert [(one.pixels.shape, one.shape) for one in images] == [((1, 3, 64, 64), (64, 64))] * 3
