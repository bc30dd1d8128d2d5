# GFL with ResNet-50 and FPN, setting by setting MMDetection's own `gfl/gfl_r50_fpn_1x_coco.py`; a test compares the two.
# What is said here is the difference to the small model.
_base_ = ['./gfl_r18_fpn_small.py', './resnet50.py']
model = dict(
    backbone=_base_.resnet50,
    neck=dict(in_channels=_base_.resnet50_channels, out_channels=256, num_outs=5),
    bbox_head=dict(
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        norm_cfg=dict(num_groups=32),
        anchor_generator=dict(octave_base_scale=8, strides=[8, 16, 32, 64, 128])),
    test_cfg=dict(nms_pre=1000))
