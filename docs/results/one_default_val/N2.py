model = dict(memory=None, distiller=dict(apart_cls=dict(background_weight=2.0)))
