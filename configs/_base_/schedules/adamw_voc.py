# AdamW for the first stage of RTMDet on VOC2007: MMDetection's settings, its learning rate of 0.004 for 256 images scaled
# down to a batch of 32 in proportion, as --auto-scale-lr does. Constant for the first half, then cosine to a twentieth.
# MMDetection's 300 epochs go with mosaic and mixup, which put several images into one; here a student's image stays one
# image, so that cached teacher boxes can follow it, and flips alone bear fewer epochs.
# https://github.com/open-mmlab/mmdetection/blob/v3.3.0/configs/rtmdet/rtmdet_l_8xb32-300e_coco.py
lr = 5e-4
epochs = 60

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True))
auto_scale_lr = dict(enable=False, base_batch_size=32)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-5, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.05,
        by_epoch=True,
        begin=epochs // 2,
        end=epochs,
        T_max=epochs // 2,
        convert_to_iter_based=True),
]
# No validation while the val images are trained on, see ../datasets/voc07.py.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_begin=1000, val_interval=1)
# Of joint training (configs/methods/joint.py): 60 epochs of the whole trainval split show 300000 images, at
# least as many as teacher and student see together.
joint = dict(train_cfg=train_cfg, param_scheduler=param_scheduler, optim_wrapper=dict(optimizer=dict(lr=lr)))
