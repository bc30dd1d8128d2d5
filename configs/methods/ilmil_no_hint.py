# Ablation of ilmil.py that its code has: merged boxes and the score term, without hints.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        score=dict(type='ScoreL1Loss', loss_weight=1.0)),
    merging=dict(_delete_=True, score_thr=0.5, iou_thr=0.7, nms_iou_thr=None),
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
