_base_ = './vgg_pcb_4.py'
epochs = 3
model = dict(type='PrunedFasterRCNN', pruned='to be given')
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
