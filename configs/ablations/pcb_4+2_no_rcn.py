# DeepPCB 4+2 without distillation of the RoI head; the merged boxes still teach it.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
model = dict(distiller=dict(type='MFRRKDistiller', roi_cls=None, roi_reg=None))
