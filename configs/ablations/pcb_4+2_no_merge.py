# DeepPCB 4+2 without the teacher's boxes in the ground truth.
_base_ = '../ilmil/frcnn_pcb_4+2.py'
model = dict(merging=None)
