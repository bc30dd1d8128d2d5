# First stage of COCO 2017, Mask R-CNN R50-FPN: the stock detector on the first 40 classes.
_base_ = [
    '../_base_/models/maskrcnn_r50_fpn.py',
    '../_base_/datasets/coco17_instance.py',
    '../_base_/schedules/sgd_coco.py',
    '../_base_/default_runtime.py',
]
metainfo = dict(classes=_base_.all_classes[:40], split=(40, ))

model = dict(roi_head=dict(bbox_head=dict(num_classes=40), mask_head=dict(num_classes=40)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
