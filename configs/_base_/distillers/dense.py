# The full method for one-stage detectors: merged teacher boxes, hints, and elastic response distillation of logits and boxes
# (docs/method.md). A student's stage inherits this file and names both in its model: distiller=_base_.distiller,
# merging=_base_.merging.
merging = dict(score_thr=0.4, iou_thr=0.3, nms_iou_thr=0.4)
distiller = dict(
    type='DenseDistiller',
    feature=dict(type='FeatureNormMSELoss', loss_weight=0.2),
    backbone_levels=(),
    neck_levels=(0, 1, 2),
    spare_new=True,
    cls=dict(type='ResponseBCELoss', loss_weight=0.2),
    reg=dict(type='DenseDeltaKDLoss', loss_weight=0.2),
    alpha=2.0,
    keep_old=True)
