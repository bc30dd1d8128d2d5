# Second stage of COCO 2017 40+10x4, R50-FPN: wine glass to orange are new.
_base_ = [
    '../_base_/models/frcnn_r50_fpn.py',
    '../_base_/datasets/coco17.py',
    '../_base_/schedules/sgd_coco_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/mfrrk.py',
]
metainfo = dict(classes=_base_.all_classes[:50], split=(40, 10))

model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/frcnn_coco_40.py', checkpoint='work_dirs/frcnn_coco_40/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=50)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
