# Ablation: the paper's threshold for merged boxes, so that teacher boxes which overlap a new object by up to 0.7 stay.
model = dict(merging=dict(iou_thr=0.7))
