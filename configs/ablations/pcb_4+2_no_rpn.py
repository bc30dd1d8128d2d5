# DeepPCB 4+2 without distillation of the RPN; the merged boxes still teach it.
_base_ = './pcb_4+2_full.py'
model = dict(distiller=dict(rpn_cls=None, rpn_reg=None))
