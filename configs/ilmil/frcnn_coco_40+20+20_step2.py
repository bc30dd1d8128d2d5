# Third stage of COCO 2017 40+20+20, R50-FPN: dining table to toothbrush are new.
_base_ = './frcnn_coco_40+20+20_step1.py'
metainfo = dict(classes=_base_.all_classes, split=(40, 20, 20))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_coco_40+20+20_step1.py',
        checkpoint='work_dirs/frcnn_coco_40+20+20_step1/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=80)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
