# DeepPCB 4+2 without distillation of the RoI head; the merged boxes still teach it.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=dict(roi_cls=None, roi_reg=None))
