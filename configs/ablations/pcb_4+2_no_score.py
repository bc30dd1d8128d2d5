# DeepPCB 4+2 without the score term.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=dict(score=None))
