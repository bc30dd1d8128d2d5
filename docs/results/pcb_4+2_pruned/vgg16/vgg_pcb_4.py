# The first stage of DeepPCB 4+2 by VGG16 of an eighth of its width, from scratch: without batch norm, anchors of 16 to 64 px.
_base_ = ['../../../../configs/_base_/models/frcnn_vgg16.py', '../../../../configs/_base_/datasets/pcb.py',
          '../../../../configs/_base_/schedules/adamw_small.py', '../../../../configs/_base_/default_runtime.py']
metainfo = dict(classes=_base_.all_classes[:4], split=(4, ))
epochs = 16
model = dict(
    backbone=dict(frozen_stages=0, init_cfg=None, channels=((8, 8), (16, 16), (32, 32, 32), (64, 64, 64), (64, 64, 64))),
    rpn_head=dict(in_channels=64, feat_channels=64, anchor_generator=dict(base_sizes=[16], scales=[1, 2, 4], strides=[16])),
    roi_head=dict(bbox_roi_extractor=dict(out_channels=64, roi_layer=dict(sampling_ratio=1)),
                  bbox_head=dict(in_channels=64, fc_out_channels=512, num_classes=4, init_cfg=[
                dict(type='Normal', std=0.01, override=dict(name='fc_cls')),
                dict(type='Normal', std=0.001, override=dict(name='fc_reg'))])),
    train_cfg=dict(rpn_proposal=dict(nms_pre=1000, max_per_img=300)),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=200)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
