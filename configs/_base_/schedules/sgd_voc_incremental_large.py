# SGD for a later stage on VOC2007 with ten new classes or more. They have about three times the images of 15+5, whose stage
# takes 36 epochs.
_base_ = './sgd_voc_incremental.py'
epochs = 12
drop = 9

param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], milestones=[drop])]
train_cfg = dict(max_epochs=epochs)
