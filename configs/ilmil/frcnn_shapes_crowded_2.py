# First stage of the crowded shapes, small R18-FPN with anchors from 16 px: a stock Faster R-CNN on the first 2 classes.
_base_ = [
    '../_base_/models/frcnn_r18_fpn_small_16px.py',
    '../_base_/datasets/shapes_crowded.py',
    '../_base_/schedules/adamw_small.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes[:2], split=(2, ))
epochs = 24

model = dict(roi_head=dict(bbox_head=dict(num_classes=2)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
