# Second stage of FODA-20x4 10+5+5, small R18-FPN: Nail to Pliers are new.
_base_ = ['./frcnn_foda20x4_10.py', '../_base_/distillers/mfrrk.py']
metainfo = dict(classes=_base_.all_classes[:15], split=(10, 5))
epochs = 10
joint_epochs = 27

model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/frcnn_foda20x4_10.py', checkpoint='work_dirs/frcnn_foda20x4_10/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=15)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
joint = dict(
    train_cfg=dict(max_epochs=joint_epochs, val_interval=joint_epochs),
    param_scheduler=[param_scheduler[0], dict(param_scheduler[1], end=joint_epochs, T_max=joint_epochs)])
