default_hooks = dict(memory=None)
model = dict(memory=dict(per_step=256, loss_weight=2.0), merging=dict(rpn=False, annotated_share=0.5))
