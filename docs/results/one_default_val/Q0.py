model = dict(merging=dict(rpn=False, annotated_share=0.5))
default_hooks = dict(memory=None)
