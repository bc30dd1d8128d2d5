model = dict(distiller=dict(
    apart_cls=dict(background_weight=2.0),
    cross_head=dict(_delete_=True, type='UnbiasedKDLoss', subtract_entropy=True, loss_weight=1.0)))
