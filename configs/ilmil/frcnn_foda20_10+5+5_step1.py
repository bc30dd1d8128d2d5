# Second stage of FODA-20 10+5+5, small R18-FPN: Nail to Pliers are new.
_base_ = './frcnn_foda20_10.py'
metainfo = dict(classes=_base_.all_classes[:15], split=(10, 5))
epochs = 10

model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/frcnn_foda20_10.py', checkpoint='work_dirs/frcnn_foda20_10/final.pth'),
    roi_head=dict(bbox_head=dict(num_classes=15)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
