# Fourth stage of COCO 2017 40+10x4, R50-FPN: dining table to oven are new.
_base_ = './frcnn_coco_40+10x4_step2.py'
metainfo = dict(classes=_base_.all_classes[:70], split=(40, 10, 10, 10))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_coco_40+10x4_step2.py',
        checkpoint='work_dirs/frcnn_coco_40+10x4_step2/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=70)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
