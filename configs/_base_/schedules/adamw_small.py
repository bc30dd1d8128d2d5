# AdamW from scratch for the small models, batch 4: short linear warm-up, then cosine to zero over the run. From scratch the
# number of steps counts, so small batches reach more in the same time than large ones.
lr = 1e-3

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=1e-2),
    clip_grad=dict(max_norm=10.0))
auto_scale_lr = dict(enable=False, base_batch_size=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, by_epoch=True, begin=0, end=8, T_max=8, convert_to_iter_based=True),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8, val_interval=8)
# Of joint training, which configs/methods/joint.py lays over a stage. The stage sets the number of epochs here too.
joint = dict(train_cfg=train_cfg, param_scheduler=param_scheduler, optim_wrapper=dict(optimizer=dict(lr=lr)))
