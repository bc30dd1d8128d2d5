# DeepPCB 4+2 with the full teacher and a student of a pruned structure that was not trained since: the teacher's own weights,
# cut, and distillation to make up for it.
_base_ = '../frcnn_pcb_4+2.py'
model = dict(pruned='work_dirs/pruned/frcnn_pcb_4/pruned.pth', start='teacher')
