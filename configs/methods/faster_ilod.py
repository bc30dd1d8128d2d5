# Faster-ILOD (Peng et al. 2020): feature maps, RPN and 64 RoIs out of the teacher's 128 best proposals. docs/methods.md.
model = dict(
    distiller=dict(
        feature=dict(_delete_=True, type='FeatureHingeLoss', loss_weight=1.0),
        spare_new=False,
        rpn_cls=dict(_delete_=True, type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(_delete_=True, type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        roi_cls=dict(_delete_=True, type='LogitMSELoss', loss_weight=1.0),
        roi_reg=dict(_delete_=True, type='RoIDeltaLoss', squared=True, loss_weight=1.0),
        score=None,
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=None)
