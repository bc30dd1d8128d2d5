# The pruned first stage of DeepPCB 4+2, trained further on its own data. The pruned checkpoint comes from
#   python tools/prune.py configs/ilmil/frcnn_pcb_4.py work_dirs/frcnn_pcb_4/final.pth --target-flops 0.5 \
#       --out work_dirs/pruned/frcnn_pcb_4
_base_ = '../ilmil/frcnn_pcb_4.py'
epochs = 5

model = dict(type='PrunedFasterRCNN', pruned='work_dirs/pruned/frcnn_pcb_4/pruned.pth')
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=epochs, T_max=epochs)]
