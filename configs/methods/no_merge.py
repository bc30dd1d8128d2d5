# Ablation: without the teacher's boxes in the ground truth; nothing tells images without an old object from others then.
model = dict(merging=None, distiller=dict(apart_cls=None, apart_reg=None))
