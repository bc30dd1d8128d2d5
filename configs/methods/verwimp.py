# Faster-ILOD with the correction of Verwimp et al. 2022: proposals on annotated objects, of which the teacher is surely wrong,
# are left out. docs/methods.md.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        feature=dict(type='FeatureHingeLoss', loss_weight=1.0),
        backbone_levels=_base_.model.distiller.backbone_levels,
        neck_levels=_base_.model.distiller.neck_levels,
        spare_new=False,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        roi_cls=dict(type='LogitMSELoss', loss_weight=1.0),
        roi_reg=dict(type='RoIDeltaLoss', squared=True, loss_weight=1.0),
        candidates=128,
        num_rois=64,
        exclude_iou=0.5),
    merging=None,
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
