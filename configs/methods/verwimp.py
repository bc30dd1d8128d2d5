# Faster-ILOD with the correction of Verwimp et al. 2022: proposals on annotated objects, of which the teacher is surely wrong,
# are left out. docs/methods.md.
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
        exclude_iou=0.5),
    merging=None)
