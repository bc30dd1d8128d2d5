# Fifth stage of COCO 2017 40+10x4, R50-FPN: toaster to toothbrush are new.
_base_ = './frcnn_coco_40+10x4_step3.py'
metainfo = dict(classes=_base_.all_classes, split=(40, 10, 10, 10, 10))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_coco_40+10x4_step3.py',
        checkpoint='work_dirs/frcnn_coco_40+10x4_step3/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=80)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
