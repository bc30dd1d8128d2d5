# VOC2007 5+15, R50-FPN, with all 20 classes annotated from the start: the upper bound.
_base_ = [
    '../_base_/models/frcnn_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc_joint.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes, split=(5, 15))

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(dataset=dict(metainfo=metainfo, keep='seen'))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
