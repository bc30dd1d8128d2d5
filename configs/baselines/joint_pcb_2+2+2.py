# DeepPCB 2+2+2, small R18-FPN, with all 6 classes annotated from the start: the upper bound.
_base_ = '../ilmil/frcnn_pcb_2.py'
metainfo = dict(classes=_base_.all_classes, split=(2, 2, 2))
epochs = 24

model = dict(roi_head=dict(bbox_head=dict(num_classes=6)))
train_dataloader = dict(dataset=dict(metainfo=metainfo, keep='seen'))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
