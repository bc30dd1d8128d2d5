# Fourth stage of VOC2007 15+1x5, R50-FPN: sofa is new.
_base_ = './frcnn_voc_15+1x5_step2.py'
metainfo = dict(classes=_base_.all_classes[:18], split=(15, 1, 1, 1))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_15+1x5_step2.py',
        checkpoint='work_dirs/frcnn_voc_15+1x5_step2/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=18)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
