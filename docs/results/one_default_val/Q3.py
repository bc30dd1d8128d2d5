default_hooks = dict(memory=None)
model = dict(norm_eval=True, memory=dict(per_step=256, loss_weight=2.0, mix=True, flip=True),
             merging=dict(rpn=False, annotated_share=0.5))
