# Third stage of VOC2007 5+5+5+5, R50-FPN: diningtable to person are new.
_base_ = './frcnn_voc_5+5+5+5_step1.py'
metainfo = dict(classes=_base_.all_classes[:15], split=(5, 5, 5))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_voc_5+5+5+5_step1.py',
        checkpoint='work_dirs/frcnn_voc_5+5+5+5_step1/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=15)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
