# DeepPCB with all six classes annotated from the start, for as many epochs as teacher and student together: the upper bound.
_base_ = '../ilmil/frcnn_pcb_4.py'
metainfo = dict(classes=('copper', 'mousebite', 'open', 'pin-hole', 'short', 'spur'), split=(4, 2))
epochs = 16

model = dict(roi_head=dict(bbox_head=dict(num_classes=6)))
train_dataloader = dict(dataset=dict(metainfo=metainfo, keep='seen'))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
train_cfg = dict(max_epochs=epochs)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        by_epoch=True,
        begin=0,
        end=epochs,
        T_max=epochs,
        convert_to_iter_based=True),
]
