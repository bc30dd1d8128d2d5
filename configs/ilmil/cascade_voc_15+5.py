# Second stage of VOC2007 15+5, Cascade R-CNN R50-FPN: pottedplant to tvmonitor are new.
_base_ = [
    '../_base_/models/cascade_r50_fpn.py',
    '../_base_/datasets/voc07.py',
    '../_base_/schedules/sgd_voc_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/mfrrk.py',
]
metainfo = dict(classes=_base_.all_classes, split=(15, 5))

model = dict(
    type='IncrementalCascadeRCNN',
    teacher=dict(config='{{ fileDirname }}/cascade_voc_15.py', checkpoint='work_dirs/cascade_voc_15/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=[dict(_head, num_classes=20) for _head in _base_.model.roi_head.bbox_head]))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
