# Fourth stage of VOC2007 5+5+5+5, R50-FPN: pottedplant to tvmonitor are new.
_base_ = './frcnn_voc_5+5+5+5_step2.py'
metainfo = dict(classes=_base_.all_classes, split=(5, 5, 5, 5))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_5+5+5+5_step2.py',
        checkpoint='work_dirs/frcnn_voc_5+5+5+5_step2/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
