# First stage of VOC2007, R50-FPN: a stock Faster R-CNN on the first 10 classes.
_base_ = [
    '../_base_/models/frcnn_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes[:10], split=(10, ))

model = dict(roi_head=dict(bbox_head=dict(num_classes=10)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
