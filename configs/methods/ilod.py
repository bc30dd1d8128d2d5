# ILOD (Shmelkov et al. 2017): logits and boxes of 64 RoIs an image, drawn out of the 128 that the teacher takes least for
# background. docs/methods.md.
model = dict(
    # Proposals among which those 128 are looked for; the test's own limit, test_cfg.rpn.max_per_img, holds as well.
    teacher=dict(max_proposals=1000),
    distiller=dict(
        feature=None,
        spare_new=False,
        rpn_cls=None,
        rpn_reg=None,
        roi_cls=dict(_delete_=True, type='LogitMSELoss', loss_weight=1.0),
        roi_reg=dict(_delete_=True, type='RoIDeltaLoss', beta=1.0, loss_weight=1.0),
        score=None,
        candidates=128,
        ranking='foreground',
        num_rois=64,
        exclude_iou=None),
    merging=None)
