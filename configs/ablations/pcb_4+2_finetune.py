# DeepPCB 4+2 by plain fine-tuning, as short as the ablations.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=None, merging=None)
