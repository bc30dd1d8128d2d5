model = dict(distiller=dict(apart_cls=dict(background_weight=1.0)))
