"""Detectors that only look supported are refused by name: as student, as teacher and in a first stage."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from tiny import OLD, ROOT, stock_cfg, student_cfg, teacher_file

from mmilmil import InputError
from mmilmil.engine.hooks import StageCheckHook
from mmilmil.models import IncrementalFasterRCNN, Teacher
from mmilmil.models.supported import check_supported
from mmilmil.registry import MODELS


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmilmil')


MASK = dict(
    mask_roi_extractor=dict(type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=3), out_channels=16,
                            featmap_strides=[4, 8, 16, 32]),
    mask_head=dict(type='FCNMaskHead', num_convs=1, in_channels=16, conv_out_channels=8, num_classes=3))
DYNAMIC = dict(iou_topk=75, beta_topk=10, update_iter_interval=100, initial_iou=0.4, initial_beta=1.0)


def roi_head(**changes):
    return stock_cfg(3, roi_head=changes)


# By a word of the message, the model's config.
REFUSED = {
    'mask_roi_extractor is None': lambda: roi_head(mask_head=MASK['mask_head'], mask_roi_extractor=None),
    'CoarseMaskHead, whose forward': lambda: roi_head(**dict(MASK, mask_head=dict(
        type='CoarseMaskHead', num_classes=3, in_channels=16, num_convs=0, num_fcs=1, fc_out_channels=8, roi_feat_size=3))),
    'DynamicRoIHead, whose loss': lambda: stock_cfg(
        3, roi_head=dict(type='DynamicRoIHead', bbox_head=dict(loss_bbox=dict(type='SmoothL1Loss'))),
        train_cfg=dict(rcnn=dict(dynamic_rcnn=DYNAMIC))),
    'PISARoIHead, whose loss': lambda: roi_head(type='PISARoIHead'),
    'OHEMSampler, which samples by features': lambda: stock_cfg(3, train_cfg=dict(rcnn=dict(sampler=dict(type='OHEMSampler')))),
    'ScoreHLRSampler, which samples by features': lambda: stock_cfg(
        3, train_cfg=dict(rcnn=dict(sampler=dict(type='ScoreHLRSampler')))),
    'use_sigmoid=False': lambda: stock_cfg(3, rpn_head=dict(loss_cls=dict(use_sigmoid=False))),
    'a RetinaHead, not a RPNHead': lambda: stock_cfg(3, rpn_head=dict(
        _delete_=True, type='RetinaHead', num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16, 32]))),
    'SABLHead, whose get_targets': lambda: roi_head(bbox_head=dict(
        _delete_=True, type='SABLHead', num_classes=3, cls_in_channels=16, reg_in_channels=16, roi_feat_size=3,
        bbox_coder=dict(type='BucketingBBoxCoder', num_buckets=6, scale_factor=1.7))),
    'SeesawLoss, is not a softmax': lambda: roi_head(bbox_head=dict(
        loss_cls=dict(_delete_=True, type='SeesawLoss', num_classes=3))),
    'CrossEntropyLoss, is not a softmax': lambda: roi_head(bbox_head=dict(loss_cls=dict(use_sigmoid=True))),
}
refused = pytest.mark.parametrize('words', REFUSED)


def is_told(error, words):
    message = str(error.value)
    assert words in message and 'mmilmil supports FasterRCNN' in message and '\n' not in message


@refused
def test_as_student(words, tmp_path):
    """Before its teacher is read, which is not there."""
    cfg = ConfigDict(REFUSED[words](), type='IncrementalFasterRCNN', teacher=dict(checkpoint=str(tmp_path / 'gone.pth')),
                     distiller=None, merging=None)
    with pytest.raises(InputError) as error:
        MODELS.build(cfg)
    is_told(error, words)
    assert 'the model of the student' in str(error.value)


@refused
def test_as_teacher(words, tmp_path):
    teacher_file(tmp_path / 'teacher.pth')
    with pytest.raises(InputError) as error:
        Teacher.load(str(tmp_path / 'teacher.pth'), dict(model=REFUSED[words]()))
    is_told(error, words)
    assert str(tmp_path / 'teacher.pth') in str(error.value)


@refused
def test_as_a_first_stage(words):
    with pytest.raises(InputError) as error:
        check_supported(MODELS.build(REFUSED[words]()), 'the model of base.py')
    is_told(error, words)
    assert str(error.value).startswith('the model of base.py is not supported: ')


def dense(kind, head, **changes):
    cfg = stock_cfg(3)
    return ConfigDict(
        type=kind, backbone=cfg.backbone, neck=cfg.neck, data_preprocessor=cfg.data_preprocessor,
        bbox_head=dict(type=head, num_classes=3, in_channels=16, feat_channels=16, stacked_convs=1, **changes),
        test_cfg=dict(nms_pre=10, score_thr=0.1, nms=dict(type='nms', iou_threshold=0.5), max_per_img=10))


def fcos():
    return dense('FCOS', 'FCOSHead', strides=[4, 8, 16, 32], norm_cfg=None,
                 regress_ranges=((-1, 16), (16, 32), (32, 64), (64, 1e8)))


ANCHORS = dict(anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[1.0], strides=[4, 8, 16, 32]))


@pytest.mark.parametrize('model, words', [
    (fcos, 'model.bbox_head is a FCOSHead, not a RTMDetSepBNHead, RTMDetHead, RetinaHead, GFLHead or ATSSHead'),
    (lambda: dense('RetinaNet', 'RetinaSepBNHead', num_ins=4, **ANCHORS), 'model.bbox_head is a RetinaSepBNHead, not a'),
    (lambda: dense('RetinaNet', 'FreeAnchorRetinaHead', **ANCHORS), 'FreeAnchorRetinaHead, whose loss_by_feat'),
    (lambda: dense('RetinaNet', 'RetinaHead', loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=False), **ANCHORS),
     'model.bbox_head.loss_cls, CrossEntropyLoss, is not a sigmoid'),
])
def test_one_stage_detectors(model, words):
    with pytest.raises(InputError, match=f'the model is not supported: .*{words}.*mmilmil supports FasterRCNN'):
        check_supported(MODELS.build(model()), 'the model')


@pytest.mark.parametrize('model, words', [
    (dict(type='DETR'), 'DETR is no detector with an RPN and a RoI head, nor one with a dense head'),
    (dict(type='DINO'), 'DINO is no detector with'),
    (dict(type='YOLOX', bbox_head=dict(type='YOLOXHead')), 'model.bbox_head is a YOLOXHead'),
    (dict(type='GFL'), 'GFL has no model.bbox_head'),
    (dict(type='FasterRCNN', rpn_head=dict(type='RPNHead')), 'FasterRCNN has no model.roi_head'),
    (dict(type='FasterRCNN', rpn_head=dict(type='RPNHead'), roi_head=dict(
        type='StandardRoIHead', bbox_head=[dict(type='Shared2FCBBoxHead')] * 2)), 'model.roi_head.bbox_head is a list'),
    (dict(type='HybridTaskCascade', rpn_head=dict(type='RPNHead'), roi_head=dict(type='HybridTaskCascadeRoIHead')),
     'HybridTaskCascadeRoIHead, whose loss'),
])
def test_it_is_told_before_anything_is_built(model, words):
    with pytest.raises(InputError, match=words):
        check_supported(model, 'the model')


def test_a_students_own_loss_is_another():
    class Mine(IncrementalFasterRCNN):

        def loss(self, batch_inputs, batch_data_samples):
            return {}

    with pytest.raises(InputError, match=r'model is a Mine, whose loss\(\) is another than that of TwoStageDetector'):
        check_supported(dict(student_cfg('gone.pth'), type=Mine), 'the model')


def test_student_without_a_part():
    cfg = student_cfg('gone.pth')
    del cfg['roi_head']
    with pytest.raises(InputError, match='IncrementalFasterRCNN has no model.roi_head.*mmilmil supports FasterRCNN'):
        MODELS.build(cfg)


def test_detector_with_a_flow_of_its_own():
    fast = stock_cfg(3, type='FastRCNN')
    del fast['rpn_head']
    with pytest.raises(InputError, match='FastRCNN has no model.rpn_head'):
        check_supported(MODELS.build(fast), 'the model')


@pytest.mark.parametrize('changes', [
    {},
    dict(type='MaskRCNN'),  # without a mask head it is Faster R-CNN
    dict(roi_head=dict(bbox_head=dict(type='ConvFCBBoxHead', num_cls_fcs=1, num_reg_fcs=1))),
    dict(rpn_head=dict(num_convs=2)),
    dict(train_cfg=dict(rcnn=dict(sampler=dict(type='CombinedSampler', pos_sampler=dict(type='InstanceBalancedPosSampler'),
                                               neg_sampler=dict(type='IoUBalancedNegSampler', floor_thr=-1, floor_fraction=0,
                                                                num_bins=3))))),
    dict(train_cfg=dict(rcnn=dict(sampler=dict(_delete_=True, type='PseudoSampler')))),
], ids=['stock', 'MaskRCNN without masks', 'deeper heads', 'deeper RPN', 'balanced samplers', 'no sampling'])
def test_what_is_supported(changes):
    check_supported(MODELS.build(stock_cfg(3, **changes)), 'the model')


@pytest.mark.parametrize('model, words', [(lambda: roi_head(type='PISARoIHead'), 'a PISARoIHead'), (fcos, 'a FCOSHead')])
def test_first_stage_is_told_by_the_hook(model, words):
    runner = SimpleNamespace(model=MODELS.build(model()), cfg=Config(dict(a=1)))
    with pytest.raises(InputError, match=f'the model of the config is not supported: .*{words}'):
        StageCheckHook().before_run(runner)


@pytest.mark.parametrize('model, words', [(lambda: roi_head(type='PISARoIHead'), 'a PISARoIHead'), (fcos, 'a FCOSHead')])
def test_tools_tell_it_in_one_line(tmp_path, tool, model, words):
    cfg = Config.fromfile(ROOT / 'configs/ilmil/frcnn_pcb_4.py')
    cfg.model = model()
    cfg.dump(tmp_path / 'base.py')
    teacher = teacher_file(tmp_path / 'teacher.pth', classes=OLD)
    work = ('--work-dir', tmp_path / 'work')
    out = ('--out', tmp_path / 'out')
    for name, *arguments in (('train.py', *work), ('test.py', teacher, *work), ('prune.py', teacher, *out)):
        done = tool(name, tmp_path / 'base.py', *arguments)
        assert done.status == 1 and 'Traceback' not in done.err
        message = done.err.strip().splitlines()[-1]
        assert message.startswith('error: the model of ') and words in message and 'mmilmil supports FasterRCNN' in message
