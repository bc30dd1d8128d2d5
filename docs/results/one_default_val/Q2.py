default_hooks = dict(memory=None)
model = dict(norm_eval=True, merging=dict(rpn=False, annotated_share=0.5))
