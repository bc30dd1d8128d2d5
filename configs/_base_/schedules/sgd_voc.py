# SGD for the first stage on VOC2007: 12 epochs as MMDetection trains VOC, the learning rate for a batch of 8 on one
# GPU. 1e-3 an image is what Faster-ILOD (https://github.com/CanPeng123/Faster-ILOD) and the usual Faster R-CNN take, up
# to batch 4:
# https://github.com/jwyang/faster-rcnn.pytorch#benchmarking
# https://github.com/open-mmlab/mmdetection/blob/v3.3.0/configs/pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py
lr = 8e-3
epochs = 12
drop = 9  # epoch after which the learning rate is a tenth

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=35.0))  # VGG16 has no batch norm to keep an early step small
auto_scale_lr = dict(enable=False, base_batch_size=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, milestones=[drop], gamma=0.1),
]
# No validation while the val images are trained on, see ../datasets/voc07.py.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_begin=1000, val_interval=1)
# Of joint training, which configs/methods/joint.py lays over a stage. An epoch is the whole trainval split there and
# a part of it in a stage: 20 epochs show 100000 images, at least as many as teacher and student see together.
joint = dict(
    train_cfg=dict(max_epochs=20),
    param_scheduler=[param_scheduler[0], dict(type='MultiStepLR', by_epoch=True, milestones=[15], gamma=0.1)],
    optim_wrapper=dict(optimizer=dict(lr=lr)))
