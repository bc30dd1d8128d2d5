# DeepPCB 4+2 without hints.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
model = dict(distiller=dict(type='MFRRKDistiller', feature=None))
