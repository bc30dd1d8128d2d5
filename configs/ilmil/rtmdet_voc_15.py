# First stage of VOC2007, RTMDet-tiny: the stock detector on the first 15 classes.
_base_ = [
    '../_base_/models/rtmdet_tiny.py',
    '../_base_/datasets/voc07_640.py',
    '../_base_/schedules/adamw_voc.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes[:15], split=(15, ))

model = dict(bbox_head=dict(num_classes=15))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
