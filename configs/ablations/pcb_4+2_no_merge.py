# DeepPCB 4+2 without the teacher's boxes in the ground truth.
_base_ = './pcb_4+2_full.py'
model = dict(merging=None)
