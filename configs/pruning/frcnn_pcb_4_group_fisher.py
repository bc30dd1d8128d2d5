# The first stage of DeepPCB 4+2 by Group Fisher pruning, a channel every five iterations until half of the FLOPs are left.
_base_ = '../ilmil/frcnn_pcb_4.py'
custom_imports = dict(imports=['mmilmil', 'mmilmil.pruning.training'], allow_failed_imports=False)
epochs = 10

model = dict(
    _delete_=True,
    type='GroupFisherPruning',
    detector=_base_.model,
    checkpoint='work_dirs/frcnn_pcb_4/final.pth',
    target_flops=0.5,
    size=_base_.scale,
    interval=5)
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
