"""Teacher and student whose weights fit one another and whose numbers mean different things."""

import pytest
import torch
from mmengine.registry import init_default_scope
from test_growth import agnostic
from tiny import OLD, SEEN, batch, build, detector_cfg, stock_cfg, student_cfg, taught, teacher_file
from torch.nn.modules.batchnorm import _BatchNorm

from mmilmil import InputError
from mmilmil.engine.picture_check import check_pictures
from mmilmil.models.meaning import count_levels, differences
from mmilmil.registry import MODELS

CODER = dict(type='DeltaXYWHBBoxCoder', target_means=[0., 0., 0., 0.])


@pytest.fixture
def checkpoint(tmp_path):
    init_default_scope('mmilmil')
    return teacher_file(tmp_path / 'teacher.pth')


def box_head(**changes):
    return dict(roi_head=dict(bbox_head=changes))


def extractor(**changes):
    return dict(roi_head=dict(bbox_roi_extractor=changes))


def anchors(**changes):
    return dict(rpn_head=dict(anchor_generator=changes))


@pytest.mark.parametrize('changes, setting, hers, own', [
    (anchors(scales=[8]), 'rpn_head.anchor_generator.scales', '(4.0,)', '(8.0,)'),
    (anchors(ratios=[0.25, 1.0, 4.0]), 'rpn_head.anchor_generator.ratios', '(0.5, 1.0, 2.0)', '(0.25, 1.0, 4.0)'),
    (anchors(base_sizes=[8, 16, 32, 64]), 'rpn_head.anchor_generator.base_sizes', '(4, 8, 16, 32)', '(8, 16, 32, 64)'),
    (anchors(center_offset=0.5), 'rpn_head.anchor_generator.center_offset', '0.0', '0.5'),
    (anchors(strides=[8, 16, 32, 64], base_sizes=[4, 8, 16, 32]), 'rpn_head.anchor_generator.strides', '((4, 4)', '((8, 8)'),
    (dict(rpn_head=dict(bbox_coder=dict(target_stds=[0.1, 0.1, 0.2, 0.2]))), 'rpn_head.bbox_coder.target_stds',
     '(1.0, 1.0, 1.0, 1.0)', '(0.1, 0.1, 0.2, 0.2)'),
    (dict(rpn_head=dict(reg_decoded_bbox=True)), 'rpn_head.reg_decoded_bbox', 'False', 'True'),
    (box_head(bbox_coder=dict(target_means=[0.5] * 4)), 'bbox_head.bbox_coder.target_means', '(0.0, 0.0, 0.0, 0.0)', '(0.5,'),
    (box_head(bbox_coder=dict(target_stds=[0.2] * 4)), 'bbox_head.bbox_coder.target_stds', '(0.1, 0.1, 0.2, 0.2)', '(0.2,'),
    (box_head(bbox_coder=dict(_delete_=True, type='TBLRBBoxCoder')), 'bbox_head.bbox_coder.type', "'DeltaXYWHBBoxCoder'",
     "'TBLRBBoxCoder'"),
    (box_head(bbox_coder=dict(add_ctr_clamp=True)), 'bbox_head.bbox_coder.add_ctr_clamp', 'False', 'True'),
    (box_head(bbox_coder=dict(type='LegacyDeltaXYWHBBoxCoder')), 'bbox_head.bbox_coder.type', "'DeltaXYWHBBoxCoder'",
     "'LegacyDeltaXYWHBBoxCoder'"),
    (box_head(reg_decoded_bbox=True), 'bbox_head.reg_decoded_bbox', 'False', 'True'),
    (extractor(featmap_strides=[8, 16, 32, 64]), 'bbox_roi_extractor.featmap_strides', '(4, 8, 16, 32)', '(8, 16, 32, 64)'),
    (extractor(finest_scale=28), 'bbox_roi_extractor.finest_scale', '56', '28'),
    (extractor(type='GenericRoIExtractor'), 'bbox_roi_extractor.type', "'SingleRoIExtractor'", "'GenericRoIExtractor'"),
    (extractor(roi_layer=dict(sampling_ratio=2)), 'roi_layer.sampling_ratio', '1', '2'),
    (extractor(roi_layer=dict(aligned=False)), 'roi_layer.aligned', 'True', 'False'),
    (extractor(roi_layer=dict(pool_mode='max')), 'roi_layer.pool_mode', "'avg'", "'max'"),
    (extractor(roi_layer=dict(_delete_=True, type='RoIPool', output_size=3)), 'roi_layer.type', "'RoIAlign'", "'RoIPool'"),
    (dict(data_preprocessor=dict(mean=[0., 0., 0.])), 'data_preprocessor.mean', '(123.675, 116.28, 103.53)', '(0.0, 0.0, 0.0)'),
    (dict(data_preprocessor=dict(std=[1., 1., 1.])), 'data_preprocessor.std', '(58.395, 57.12, 57.375)', '(1.0, 1.0, 1.0)'),
    (dict(data_preprocessor=dict(bgr_to_rgb=False)), 'data_preprocessor.bgr_to_rgb', 'True', 'False'),
    (dict(data_preprocessor=dict(pad_value=114)), 'data_preprocessor.pad_value', '0', '114'),
    (dict(data_preprocessor=dict(mean=None, std=None)), 'data_preprocessor.mean', '(123.675, 116.28, 103.53)', 'not set'),
    (dict(backbone=dict(strides=(1, 2, 2, 1))), 'backbone.strides', '(1, 2, 2, 2)', '(1, 2, 2, 1)'),
    (dict(backbone=dict(dilations=(1, 1, 1, 2))), 'backbone.dilations', '(1, 1, 1, 1)', '(1, 1, 1, 2)'),
    (dict(backbone=dict(norm_cfg=dict(type='BN', eps=0.1))), 'backbone.bn1.eps', '1e-05', '0.1'),
    (dict(neck=dict(upsample_cfg=dict(mode='bilinear'))), 'neck.upsample_cfg', "{'mode': 'nearest'}", "{'mode': 'bilinear'}"),
    (dict(neck=dict(act_cfg=dict(type='ReLU'))), 'neck.lateral_convs.0.activate.type', 'not set', "'ReLU'"),
    (dict(backbone=dict(depth=34)), 'backbone.depth', '18', '34'),
    (agnostic(True), 'bbox_head.reg_class_agnostic', 'False', 'True'),
])
def test_difference_is_told_with_setting_values_and_remedy(checkpoint, changes, setting, hers, own):
    with pytest.raises(InputError) as error:
        build(student_cfg(checkpoint, **changes))
    message = str(error.value)
    assert f'the teacher {checkpoint}' in message and setting in message and '_base_' in message and '\n' not in message
    told = message[message.index(setting):]
    assert f' is {hers}' in told and f'there and {own}' in told and 'in the student' in told


@pytest.mark.parametrize('changes', [
    dict(backbone=dict(frozen_stages=1, norm_eval=True, with_cp=True, norm_cfg=dict(type='BN', requires_grad=False))),
    dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet18'))),
    dict(rpn_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=0.1)),
         roi_head=dict(bbox_head=dict(loss_bbox=dict(type='SmoothL1Loss')))),
    dict(train_cfg=dict(rcnn=dict(sampler=dict(num=8))), test_cfg=dict(rcnn=dict(score_thr=0.3, nms=dict(type='soft_nms')))),
    # Other words for the same.
    anchors(scales=None, octave_base_scale=4, scales_per_octave=1),
    dict(data_preprocessor=dict(mean=(123.675, 116.28, 103.53), pad_size_divisor=64)),
    extractor(roi_layer=dict(output_size=(3, 3))),
    dict(data_preprocessor=dict(rgb_to_bgr=True, bgr_to_rgb=False)),
    box_head(bbox_coder=dict(clip_border=False)),
    dict(data_preprocessor=dict(boxtype2tensor=True, batch_augments=[
        dict(type='BatchSyncRandomResize', random_size_range=(32, 64), size_divisor=32)])),
], ids=['training', 'initialisation', 'losses', 'train_cfg and test_cfg', 'octaves', 'a tuple', 'a pair', 'swapped channels',
        'clipping', 'sizes in training'])
def test_what_may_differ(checkpoint, changes):
    student = build(student_cfg(checkpoint, **changes))
    assert list(differences(student.teacher.detector, student)) == []


LOAD, FLIP = dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5)
SWAPPED = dict(type='mmcv.Normalize', mean=[0.], std=[1.], to_rgb=True)


def with_pipeline(*steps, loader='train', wrapped=False):
    dataset = dict(type='CocoDataset', pipeline=list(steps))
    return {f'{loader}_dataloader': dict(dataset=dict(type='ConcatDataset', datasets=[dataset]) if wrapped else dataset)}


@pytest.mark.parametrize('hers, own, told', [
    ([LOAD], [dict(LOAD, color_type='unchanged')], "LoadImageFromFile.color_type is 'color' there and 'unchanged' in"),
    ([dict(LOAD, imdecode_backend='tifffile')], [LOAD], "imdecode_backend = 'tifffile' is True there and False in"),
    ([LOAD, SWAPPED], [LOAD], r"Normalize is \{'mean': \[0.0\], 'std': \[1.0\], 'to_rgb': True\} there and None in"),
    ([LOAD, SWAPPED], [LOAD, dict(SWAPPED, to_rgb=False)], 'Normalize is .*True} there and .*False} in'),
])
def test_other_pixels_are_told(hers, own, told):
    for teacher in (with_pipeline(*hers), with_pipeline(*hers, loader='test', wrapped=True)):
        with pytest.raises(InputError, match=f'the teacher w.pth and the student would see other values .*{told}'):
            check_pictures(teacher, with_pipeline(*own), 'the teacher w.pth')


@pytest.mark.parametrize('hers, own', [
    ([LOAD, FLIP], [dict(type='mmdet.LoadImageFromFile', to_float32=True, imdecode_backend='pillow', backend_args=None)]),
    ([LOAD, dict(SWAPPED, mean=(0., ), type='Normalize')], [LOAD, FLIP, SWAPPED]),
    ([], [SWAPPED, LOAD]),
    ([LOAD, SWAPPED], []),
])
def test_what_may_differ_in_pipelines(hers, own):
    check_pictures(with_pipeline(*hers), with_pipeline(*own), 'the teacher w.pth')
    check_pictures(dict(type='FasterRCNN'), with_pipeline(LOAD, SWAPPED), 'the teacher w.pth')


def test_dropout_alone_is_no_other_head(checkpoint):
    hers = box_head(type='Shared2FCBBoxHead')
    own = box_head(type='VGGBBoxHead')
    assert not list(differences(MODELS.build(stock_cfg(3, **hers)), MODELS.build(stock_cfg(5, **own))))


def test_batch_norm_of_several_processes_is_the_same(checkpoint):
    changes = dict(backbone=dict(norm_cfg=dict(type='SyncBN')))
    assert not list(differences(MODELS.build(stock_cfg(3)), MODELS.build(stock_cfg(3, **changes))))


@torch.no_grad()
def test_rtmdet_of_several_processes_teaches_one_of_a_single_one(tmp_path):
    """MMDetection's RTMDet has SyncBN in all its parts."""
    changes = {part: dict(norm_cfg=dict(type='SyncBN')) for part in ('backbone', 'neck', 'bbox_head')}
    teacher = teacher_file(tmp_path / 'teacher.pth', cfg=detector_cfg('rtmdet', len(OLD), **changes))
    student = build(taught(detector_cfg('rtmdet', len(SEEN)), teacher, 'dense')).eval()
    several = [{isinstance(module, torch.nn.SyncBatchNorm) for module in detector.modules() if isinstance(module, _BatchNorm)}
               for detector in (student.teacher.detector, student)]
    assert several == [{True}, {False}]
    losses = student.loss(*batch())
    assert losses['loss_kd_feature'] == 0 and losses['loss_kd_reg'] == 0


def test_several_differences_are_counted(checkpoint):
    with pytest.raises(InputError, match=r'; .*; .*, and 2 more\. Let'):
        build(student_cfg(checkpoint, data_preprocessor=dict(mean=[0.] * 3, std=[1.] * 3),
                          **extractor(finest_scale=28, roi_layer=dict(sampling_ratio=2, aligned=False))))


def test_maps_are_counted_without_a_trace(checkpoint):
    detector = build(stock_cfg(3)).train()
    before = detector.backbone.bn1.running_mean.clone()
    assert count_levels(detector) == (4, 4)
    assert detector.training and torch.equal(detector.backbone.bn1.running_mean, before)
    assert count_levels(MODELS.build(stock_cfg(3, backbone=dict(out_indices=(0, 1, 2)), neck=dict(
        in_channels=[8, 16, 32], num_outs=5)))) == (3, 5)


EVERY_IMAGE = dict(apart_cls=None, apart_reg=None)  # compared alike, whether its teacher sees an old object there or not


@pytest.mark.parametrize('hers, own', [(False, False), (True, True), (True, False)])
def test_each_pair_of_box_layers_trains(tmp_path, hers, own):
    checkpoint = teacher_file(tmp_path / 'teacher.pth', cfg=stock_cfg(len(OLD), **agnostic(hers)))
    student = build(student_cfg(checkpoint, distiller=EVERY_IMAGE, **agnostic(own))).eval()
    # Right after growth the boxes are the teacher's, whatever the pair.
    assert student.loss(*batch())['loss_kd_roi_reg'].item() == pytest.approx(0, abs=1e-6)
    loss = student.train().loss(*batch())['loss_kd_roi_reg']
    loss.backward()
    assert torch.isfinite(loss) and student.roi_head.bbox_head.fc_reg.weight.grad.abs().sum() > 0


def test_box_term_of_an_agnostic_teacher_and_a_class_wise_student(tmp_path):
    """Each old class is compared with the one box, by the teacher's probability of the class."""
    checkpoint = teacher_file(tmp_path / 'teacher.pth', cfg=stock_cfg(len(OLD), **agnostic(True)))
    student = build(student_cfg(checkpoint, distiller=EVERY_IMAGE)).eval()
    with torch.no_grad():
        student.roi_head.bbox_head.fc_reg.bias[4] += 1.  # the first delta of the second class
        student.roi_head.bbox_head.fc_reg.bias[12:] += 5.  # new classes are not compared
    seen = {}
    choose = student.distiller.choose_rois

    def keep(*args):
        seen['rois'], = found = choose(*args)
        return found

    student.distiller.choose_rois = keep
    loss = student.loss(*batch())['loss_kd_roi_reg']
    assert seen['rois'].deltas.size(1) == 4
    q = seen['rois'].logits.softmax(dim=1)[:, 1]
    assert loss.item() == pytest.approx(0.2 * (0.5 * q).mean().item(), rel=1e-4)  # smooth L1 of 1 is 0.5, weight 0.2
