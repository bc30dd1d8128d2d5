# DeepPCB 4+2 in fewer epochs than frcnn_pcb_4+2.py: the stage that the ablations (`--methods no_feature no_rpn ...`) are laid
# over. Two cores had time for three; give them as many as you can.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
epochs = 3
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
