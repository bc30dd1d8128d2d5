# Ablation of ilmil.py: merged boxes alone, neither hints nor the score term.
model = dict(
    distiller=None,
    merging=dict(_delete_=True, score_thr=0.5, iou_thr=0.7, nms_iou_thr=None),
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
