# Second stage of DeepPCB 4+2, small Cascade R-CNN: short and spur are new.
_base_ = ['./cascade_pcb_4.py', '../_base_/distillers/mfrrk.py']
metainfo = dict(classes=_base_.all_classes, split=(4, 2))
epochs = 10
joint_epochs = 24

model = dict(
    type='IncrementalCascadeRCNN',
    teacher=dict(config='{{ fileDirname }}/cascade_pcb_4.py', checkpoint='work_dirs/cascade_pcb_4/final.pth'),
    distiller=_base_.distiller,
    merging=_base_.merging,
    memory=_base_.memory,
    norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=[dict(_head, num_classes=6) for _head in _base_.model.roi_head.bbox_head]))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
joint = dict(
    train_cfg=dict(max_epochs=joint_epochs, val_interval=joint_epochs),
    param_scheduler=[param_scheduler[0], dict(param_scheduler[1], end=joint_epochs, T_max=joint_epochs)])
