# Second stage of COCO 2017 40+40, Mask R-CNN R50-FPN: wine glass to toothbrush are new.
_base_ = [
    '../_base_/models/maskrcnn_r50_fpn.py',
    '../_base_/datasets/coco17_instance.py',
    '../_base_/schedules/sgd_coco_incremental.py',
    '../_base_/default_runtime.py',
    '../_base_/distillers/mfrrk.py',
]
metainfo = dict(classes=_base_.all_classes, split=(40, 40))

model = dict(
    type='IncrementalMaskRCNN',
    teacher=dict(config='{{ fileDirname }}/maskrcnn_coco_40.py', checkpoint='work_dirs/maskrcnn_coco_40/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=80), mask_head=dict(num_classes=80)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
