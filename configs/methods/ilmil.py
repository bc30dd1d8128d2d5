# ILMIL as its paper has it (docs/method.md): hints by mean squared error on the last two backbone levels and the L1 score
# term. RPN and RCN knowledge come from the merged boxes alone. The hint is the mean over both levels; the paper's code also
# has variants that amount to loss_weight=2 and 10.
model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        feature=dict(type='FeatureMSELoss', loss_weight=1.0),
        backbone_levels=(-2, -1),
        neck_levels=(),
        spare_new=False,
        score=dict(type='ScoreL1Loss', loss_weight=1.0)),
    merging=dict(_delete_=True, score_thr=0.5, iou_thr=0.7, nms_iou_thr=None),
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
