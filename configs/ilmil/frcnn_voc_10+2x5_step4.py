# Fifth stage of VOC2007 10+2x5, R50-FPN: sheep and sofa are new.
_base_ = './frcnn_voc_10+2x5_step3.py'
metainfo = dict(classes=_base_.all_classes[:18], split=(10, 2, 2, 2, 2))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_10+2x5_step3.py',
        checkpoint='work_dirs/frcnn_voc_10+2x5_step3/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=18)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
