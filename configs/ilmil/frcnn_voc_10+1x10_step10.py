# Eleventh stage of VOC2007 10+1x10, R50-FPN: tvmonitor is new.
_base_ = './frcnn_voc_10+1x10_step9.py'
metainfo = dict(classes=_base_.all_classes, split=(10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_10+1x10_step9.py',
        checkpoint='work_dirs/frcnn_voc_10+1x10_step9/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
