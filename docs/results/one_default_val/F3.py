model = dict(memory=dict(per_step=256, loss_weight=2.0))
