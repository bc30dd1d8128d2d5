# Second stage of VOC2007 15+1x5, R50-FPN: pottedplant is new.
_base_ = [
    '../_base_/models/frcnn_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/mfrrk.py',
]
metainfo = dict(classes=_base_.all_classes[:16], split=(15, 1))

model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/frcnn_voc_15.py', checkpoint='work_dirs/frcnn_voc_15/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=16)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
