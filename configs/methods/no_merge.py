# Ablation: without the teacher's boxes in the ground truth.
model = dict(merging=None)
