# Faster R-CNN with VGG16, the ILMIL paper's detector: one feature map of stride 16, nine anchors a cell, fc6 and fc7 on
# RoIs of 7x7. Numbers of proposals and RoIs, and the NMS of 0.3, as in Faster R-CNN's own code for VOC:
# https://github.com/rbgirshick/py-faster-rcnn/blob/master/lib/fast_rcnn/config.py
# Weights and normalisation are torchvision's (RGB, ImageNet mean and standard deviation), not Caffe's.
_base_ = './frcnn_r18_fpn_small.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='VGG16',
        out_indices=(3, 4),  # levels 4 and 5, for the hints
        frozen_stages=2,
        init_cfg=dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/vgg16-397923af.pth')),
    neck=dict(_delete_=True, type='SelectLevels', indices=(-1, )),  # RPN and RoI head see level 5 alone
    rpn_head=dict(
        in_channels=512, feat_channels=512, anchor_generator=dict(base_sizes=[16], scales=[8, 16, 32], strides=[16])),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=0), out_channels=512, featmap_strides=[16]),
        bbox_head=dict(
            type='VGGBBoxHead',
            in_channels=512,
            fc_out_channels=4096,
            init_cfg=[
                dict(type='Normal', std=0.01, override=dict(name='fc_cls')),
                dict(type='Normal', std=0.001, override=dict(name='fc_reg')),
                dict(type='Pretrained', checkpoint='https://download.pytorch.org/models/vgg16-397923af.pth'),
            ])),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=256)),
        rpn_proposal=dict(nms_pre=12000, max_per_img=2000),
        rcnn=dict(sampler=dict(num=128))),
    test_cfg=dict(rpn=dict(nms_pre=6000, max_per_img=300), rcnn=dict(nms=dict(iou_threshold=0.3))))
