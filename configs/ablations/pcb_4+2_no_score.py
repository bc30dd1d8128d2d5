# DeepPCB 4+2 without the score term.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
model = dict(distiller=dict(type='MFRRKDistiller', score=None))
