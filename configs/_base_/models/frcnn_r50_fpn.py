# Faster R-CNN with ResNet-50 and FPN, setting by setting MMDetection's own `_base_/models/faster-rcnn_r50_fpn.py`; a
# test compares the two. Not inherited from there by `mmdet::`, which needs pkg_resources (gone from setuptools 82) and
# leaves a `_scope_` behind in which mmilmil's modules are not found: what is said here is the difference to the small
# model.
_base_ = './frcnn_r18_fpn_small.py'
model = dict(
    backbone=dict(
        depth=50,
        base_channels=64,
        frozen_stages=1,
        norm_eval=True,
        # torchvision://resnet50, which MMDetection names here, is this file.
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/resnet50-0676ba61.pth')),
    neck=dict(in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
    rpn_head=dict(in_channels=256, feat_channels=256, anchor_generator=dict(strides=[4, 8, 16, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=0), out_channels=256),
        bbox_head=dict(in_channels=256, fc_out_channels=1024)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000),
        rcnn=dict(sampler=dict(num=512))),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=1000)))
