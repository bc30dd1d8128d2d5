# DeepPCB 4+2 with the paper's threshold for merged boxes: teacher boxes that overlap a new object by up to 0.7 stay.
_base_ = './pcb_4+2_full.py'
model = dict(merging=dict(iou_thr=0.7))
