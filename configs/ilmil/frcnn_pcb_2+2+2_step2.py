# Third stage of DeepPCB 2+2+2, small R18-FPN: short and spur are new.
_base_ = './frcnn_pcb_2+2+2_step1.py'
metainfo = dict(classes=_base_.all_classes, split=(2, 2, 2))

model = dict(
    teacher=dict(
        config='{{ fileDirname }}/frcnn_pcb_2+2+2_step1.py',
        checkpoint='work_dirs/frcnn_pcb_2+2+2_step1/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=6)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
