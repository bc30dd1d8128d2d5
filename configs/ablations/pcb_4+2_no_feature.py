# DeepPCB 4+2 without hints.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=dict(feature=None))
