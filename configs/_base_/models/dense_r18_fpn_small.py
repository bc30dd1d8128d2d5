# Backbone and neck of the small one-stage detectors: a quarter-width ResNet-18 and an FPN of 48 channels with strides 8 to 64.
# A detector inherits this and adds its head.
_base_ = './resnet18_small.py'
channels = 48

model = dict(
    neck=dict(
        type='FPN',
        in_channels=[16, 32, 64, 128],
        out_channels=channels,
        start_level=1,
        add_extra_convs='on_output',
        num_outs=4),
    test_cfg=dict(nms_pre=500, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
