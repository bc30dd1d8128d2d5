# SGD for all classes at once on VOC2007. An epoch is the whole trainval split here and a part of it in a stage: 20
# epochs show 100000 images, at least as many as teacher and student see together.
_base_ = './sgd_voc.py'
epochs = 20
drop = 15

param_scheduler = [_base_.param_scheduler[0], dict(type='MultiStepLR', by_epoch=True, milestones=[drop], gamma=0.1)]
train_cfg = dict(max_epochs=epochs)
