# First stage of VOC2007, GFL R50-FPN: the stock detector on the first 15 classes.
_base_ = [
    '../_base_/models/gfl_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc_dense.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes[:15], split=(15, ))

model = dict(bbox_head=dict(num_classes=15))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
