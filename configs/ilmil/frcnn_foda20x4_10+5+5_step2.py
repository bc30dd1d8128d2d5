# Third stage of FODA-20x4 10+5+5, small R18-FPN: Rock to Wrench are new.
_base_ = './frcnn_foda20x4_10+5+5_step1.py'
metainfo = dict(classes=_base_.all_classes, split=(10, 5, 5))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_foda20x4_10+5+5_step1.py',
        checkpoint='work_dirs/frcnn_foda20x4_10+5+5_step1/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=20)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
