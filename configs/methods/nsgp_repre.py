# NSGP-RePRE (arXiv 2502.05540): updates of the trunk are projected onto the null space of the old images, and regional
# prototypes are replayed through the RoI head. What else keeps old objects are merged boxes. Of two-stage detectors;
# docs/method.md tells where it departs from the paper.
from mmilmil.overlays import anew

model = dict(
    distiller=None,
    merging=dict(_delete_=True, score_thr=0.5, iou_thr=0.3, nms_iou_thr=0.4),
    frozen=(),
    norm_eval=True,
    **anew(_base_.model, memory=dict(per_step=1000, loss_weight=1.0, reg_weight=0.0, prototypes=True)))
custom_hooks = [dict(type='NullSpaceHook')]
