model = dict(memory=dict(per_step=512, loss_weight=4.0))
