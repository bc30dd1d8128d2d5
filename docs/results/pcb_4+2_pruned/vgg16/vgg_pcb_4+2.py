_base_ = ['./vgg_pcb_4.py', '../../../../configs/_base_/distillers/mfrrk.py']
metainfo = dict(classes=_base_.all_classes, split=(4, 2))
epochs = 5
model = dict(
    type='IncrementalFasterRCNN',
    teacher=dict(config='{{ fileDirname }}/vgg_pcb_4.py', checkpoint='work_dirs/vgg_pcb_4/final.pth'),
    distiller=dict(_base_.distiller, backbone_levels=(-2, -1), neck_levels=()),
    merging=_base_.merging, memory=_base_.memory, norm_eval=_base_.norm_eval,
    roi_head=dict(bbox_head=dict(num_classes=6)))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
