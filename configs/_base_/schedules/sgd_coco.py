# SGD for the first stage on COCO 2017: MMDetection's 1x schedule, the learning rate for a batch of 16 in all.
# https://github.com/open-mmlab/mmdetection/blob/v3.3.0/configs/_base_/schedules/schedule_1x.py
lr = 2e-2
epochs = 12
drops = [8, 11]  # epochs after which the learning rate is a tenth

optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4))
auto_scale_lr = dict(enable=False, base_batch_size=16)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=drops, gamma=0.1),
]
# No validation while val2017 is the test set, see ../datasets/coco17.py.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_begin=1000, val_interval=1)
# Of joint training (configs/methods/joint.py): the 1x schedule, with which the literature trains its upper
# bound too.
joint = dict(
    train_cfg=dict(max_epochs=epochs), param_scheduler=param_scheduler, optim_wrapper=dict(optimizer=dict(lr=lr)))
