# Second stage of VOC2007 15+5, RTMDet-tiny: pottedplant to tvmonitor are new.
_base_ = [
    '../_base_/models/rtmdet_tiny.py',
    '../_base_/datasets/voc07_640.py',
    '../_base_/schedules/adamw_voc_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/dense.py',
]
metainfo = dict(classes=_base_.all_classes, split=(15, 5))

model = dict(
    type='IncrementalRTMDet',
    teacher=dict(config='{{ fileDirname }}/rtmdet_voc_15.py', checkpoint='work_dirs/rtmdet_voc_15/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    bbox_head=dict(num_classes=20))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
