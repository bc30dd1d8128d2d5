# Sixth stage of VOC2007 15+1x5, R50-FPN: tvmonitor is new.
_base_ = './frcnn_voc_15+1x5_step4.py'
metainfo = dict(classes=_base_.all_classes, split=(15, 1, 1, 1, 1, 1))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_15+1x5_step4.py',
        checkpoint='work_dirs/frcnn_voc_15+1x5_step4/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
