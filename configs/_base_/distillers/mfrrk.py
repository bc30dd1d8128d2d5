# ILMIL with MFRRK, the full method for two-stage detectors: every term of the distillation, how the teacher's boxes are merged
# and sampled, and what is replayed (docs/method.md). Which weights and thresholds were chosen, and on what: docs/results.md.
# A student's stage inherits this file and names all four in its model: distiller=_base_.distiller and so on.
distiller = dict(
    type='MFRRKDistiller',
    feature=dict(type='FeatureNormMSELoss', loss_weight=0.2),
    backbone_levels=(),
    neck_levels=(0, 1, 2, 3),
    spare_new=True,
    rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=0.02),
    rpn_reg=dict(type='RPNForegroundDeltaLoss', loss_weight=0.02),
    roi_cls=dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=0.2),
    roi_reg=dict(type='RoIDeltaLoss', by_probability=True, loss_weight=0.2),
    # In their place on images that show no old object, where the new objects have to keep the old classes.
    apart_cls=dict(type='MixedKDLoss', temperature=2.0, old_weight=2.0, background_weight=2.0, loss_weight=1.0),
    apart_reg=dict(type='RoIDeltaLoss', by_probability=True, loss_weight=1.0),
    roi_feature=None,
    # The teacher's box head is to read the student's features as it reads its own: a memory of them does not rot then.
    cross_head=dict(type='UnbiasedKDLoss', subtract_entropy=True, normalize=False, loss_weight=1.0),
    cross_head_reg=None,
    score=dict(type='ScoreL1Loss', loss_weight=0.02),
    candidates=128,
    ranking='objectness',
    num_rois=32,
    exclude_iou=0.3)
# The RPN finds old objects as it is; taught a dozen of them to one new object, it does not learn that one.
merging = dict(score_thr=0.5, iou_thr=0.3, nms_iou_thr=0.4, rpn=False, annotated_share=0.5)
# What the stage before kept of the old classes, where it kept it: memory.pth beside the teacher.
memory = dict(
    per_step=256, loss_weight=2.0, reg_weight=1.0, flip=True, follow=True, residual=True, soft=True, balance=True,
    least_share=0.2)
norm_eval = True
