# The cross-head distillation of FaCHD (2026) alone, on pseudo-labels: the teacher's box head is to read the student's features
# as it reads its own; the student's head learns from the boxes. docs/methods.md.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        # Between equal columns this is the divergence of FaCHD, mean over the classes; its weight is that of VOC 10+10.
        cross_head=dict(type='UnbiasedKDLoss', subtract_entropy=True, loss_weight=20.0),
        cross_head_reg=dict(type='RoIDeltaLoss', beta=1.0, loss_weight=1.0),
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=dict(_delete_=True, score_thr=0.75, iou_thr=0.4, nms_iou_thr=0.3),
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
