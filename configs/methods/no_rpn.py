# Ablation: without distillation of the RPN; the merged boxes teach it.
model = dict(distiller=dict(rpn_cls=None, rpn_reg=None), merging=dict(rpn=True))
