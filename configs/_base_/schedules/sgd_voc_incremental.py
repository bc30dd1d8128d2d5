# SGD for a later stage on VOC2007: a tenth of the first stage's learning rate, 1e-4 an image as in Faster-ILOD and MMA.
# MMA shows about 40000 images for 5 or 10 new classes, which are 36 epochs of the 1000 images or so of 15+5:
# https://github.com/fcdl94/MMA/blob/main/configs/OD_cfg/15-5/e2e_faster_rcnn_R_50_C4_4x_Target_model.yaml
_base_ = './sgd_voc.py'
epochs = 36
drop = 27

optim_wrapper = dict(optimizer=dict(lr=8e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=100),
    dict(type='MultiStepLR', by_epoch=True, milestones=[drop], gamma=0.1),
]
train_cfg = dict(max_epochs=epochs)
