# DeepPCB 3+3, small R18-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps
# the old classes.
_base_ = '../ilmil/frcnn_pcb_3+3.py'
model = dict(distiller=None, merging=None)
