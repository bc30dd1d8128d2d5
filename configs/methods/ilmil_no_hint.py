# Ablation of ilmil.py that its code has: merged boxes and the score term, without hints.
model = dict(
    distiller=dict(
        feature=None,
        rpn_cls=None,
        rpn_reg=None,
        roi_cls=None,
        roi_reg=None,
        score=dict(_delete_=True, type='ScoreL1Loss', loss_weight=1.0)),
    merging=dict(score_thr=0.5, iou_thr=0.7, nms_iou_thr=None))
