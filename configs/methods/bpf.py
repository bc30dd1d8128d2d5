# BPF (Mo et al. 2024) with one teacher: pseudo-labels for the past, and unbiased distillation beside the new objects, which is
# its distillation with future where no intermediate detector tells the new classes apart. docs/methods.md.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        roi_cls=dict(type='UnbiasedKDLoss', loss_weight=1.0),
        roi_reg=dict(type='RoIDeltaLoss', squared=True, loss_weight=1.0),
        candidates=128,
        num_rois=64,
        exclude_iou=0.5),
    merging=dict(_delete_=True, score_thr=0.75, iou_thr=0.4, nms_iou_thr=0.3),
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
