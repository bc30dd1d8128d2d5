# The full method with 25 times its default weights, for new images on which hardly an old object is seen: there is next to
# nothing to merge, so the terms have to keep the old classes alone. docs/results.md, FODA-20.
heavy_distiller = dict(
    type='MFRRKDistiller',
    feature=dict(type='FeatureNormMSELoss', loss_weight=5.0),
    rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=0.5),
    rpn_reg=dict(type='RPNForegroundDeltaLoss', loss_weight=0.5),
    roi_cls=dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=5.0),
    roi_reg=dict(type='RoIDeltaLoss', by_probability=True, loss_weight=5.0),
    score=dict(type='ScoreL1Loss', loss_weight=0.5))
