# Second stage of VOC2007 10+1x10, R50-FPN: diningtable is new.
_base_ = [
    '../_base_/models/frcnn_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/mfrrk.py',
]
metainfo = dict(classes=_base_.all_classes[:11], split=(10, 1))

model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/frcnn_voc_10.py', checkpoint='work_dirs/frcnn_voc_10/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=11)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
