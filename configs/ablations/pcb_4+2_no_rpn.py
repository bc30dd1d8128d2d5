# DeepPCB 4+2 without distillation of the RPN; the merged boxes still teach it.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
model = dict(distiller=dict(type='MFRRKDistiller', rpn_cls=None, rpn_reg=None))
