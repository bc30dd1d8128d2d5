# The cross-head distillation of FaCHD (2026) alone, on pseudo-labels: the teacher's box head is to read the student's features
# as it reads its own; the student's head learns from the boxes. docs/methods.md.
model = dict(
    distiller=dict(
        feature=None,
        spare_new=False,
        rpn_cls=dict(_delete_=True, type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(_delete_=True, type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        roi_cls=None,
        roi_reg=None,
        # Between equal columns this is the divergence of FaCHD, mean over the classes; its weight is that of VOC 10+10.
        cross_head=dict(_delete_=True, type='UnbiasedKDLoss', subtract_entropy=True, loss_weight=20.0),
        cross_head_reg=dict(_delete_=True, type='RoIDeltaLoss', beta=1.0, loss_weight=1.0),
        score=None,
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=dict(score_thr=0.75, iou_thr=0.4, nms_iou_thr=0.3))
