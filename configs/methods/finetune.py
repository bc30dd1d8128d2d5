# Plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps the old classes.
model = dict(distiller=None, merging=None, memory=None, frozen=(), norm_eval=False)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
