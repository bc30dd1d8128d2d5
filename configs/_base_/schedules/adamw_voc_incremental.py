# AdamW for a later stage of RTMDet on VOC2007: the first stage's learning rate, as a step of AdamW moves every weight by
# about that much whatever its gradient, and a stage of about 1000 images has about 1000 steps for the rows of its new
# classes.
_base_ = './adamw_voc.py'
epochs = 36

param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=0.1, end=100),
    dict(_base_.param_scheduler[1], begin=epochs // 2, end=epochs, T_max=epochs // 2),
]
train_cfg = dict(max_epochs=epochs)
