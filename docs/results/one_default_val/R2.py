model = dict(distiller=dict(apart_cls=dict(background_weight=2.0), feature=dict(loss_weight=1.0)))
