model = dict(memory=dict(loss_weight=8.0))
