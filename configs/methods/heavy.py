# The full method with 25 times its default weights, for new images on which hardly an old object is seen: there is next to
# nothing to merge, so the terms have to keep the old classes alone. docs/results.md, FODA-20.
model = dict(
    distiller=dict(
        feature=dict(loss_weight=5.0),
        rpn_cls=dict(loss_weight=0.5),
        rpn_reg=dict(loss_weight=0.5),
        roi_cls=dict(loss_weight=5.0),
        roi_reg=dict(loss_weight=5.0),
        score=dict(loss_weight=0.5)))
