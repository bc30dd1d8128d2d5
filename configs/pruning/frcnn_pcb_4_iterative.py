# The first stage of DeepPCB 4+2, pruned by L1 norm in three steps, an epoch each, and trained on.
_base_ = '../ilmil/frcnn_pcb_4.py'
custom_imports = dict(imports=['mmilmil', 'mmilmil.pruning.training'], allow_failed_imports=False)
epochs = 10

model = dict(
    _delete_=True,
    type='IterativePruning',
    detector=_base_.model,
    checkpoint='work_dirs/frcnn_pcb_4/final.pth',
    ratio=0.6,
    every=1,
    times=3)
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
