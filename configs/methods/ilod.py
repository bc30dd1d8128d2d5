# ILOD (Shmelkov et al. 2017): logits and boxes of 64 RoIs an image, drawn out of the 128 that the teacher takes least for
# background. docs/methods.md.
model = dict(
    # Proposals among which those 128 are looked for; the test's own limit, test_cfg.rpn.max_per_img, holds as well.
    teacher=dict(max_proposals=1000),
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        roi_cls=dict(type='LogitMSELoss', loss_weight=1.0),
        roi_reg=dict(type='RoIDeltaLoss', beta=1.0, loss_weight=1.0),
        candidates=128,
        ranking='foreground',
        num_rois=64,
        exclude_iou=None),
    merging=None,
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
