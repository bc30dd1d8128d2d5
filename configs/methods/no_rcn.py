# Ablation: without distillation of the RoI head; the merged boxes still teach it.
model = dict(distiller=dict(roi_cls=None, roi_reg=None, apart_cls=None, apart_reg=None, cross_head=None))
