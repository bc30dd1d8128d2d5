# RetinaNet with ResNet-50 and FPN, setting by setting MMDetection's own `_base_/models/retinanet_r50_fpn.py`; a test compares
# the two. What is said here is the difference to the small model.
_base_ = ['./retinanet_r18_fpn_small.py', './resnet50.py']
model = dict(
    backbone=_base_.resnet50,
    neck=dict(in_channels=_base_.resnet50_channels, out_channels=256, add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        in_channels=256,
        feat_channels=256,
        stacked_convs=4,
        anchor_generator=dict(octave_base_scale=4, scales_per_octave=3, strides=[8, 16, 32, 64, 128])),
    test_cfg=dict(nms_pre=1000))
