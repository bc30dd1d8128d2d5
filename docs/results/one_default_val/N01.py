optim_wrapper = dict(
    optimizer=dict(lr=0.001),
    paramwise_cfg=dict(custom_keys={
        'backbone': dict(lr_mult=0.1),
        'neck': dict(lr_mult=0.1),
        'rpn_head': dict(lr_mult=1.0)}))
default_hooks = dict(memory=None)
model = dict(
    memory=None,
    frozen=[],
    norm_eval=True,
    merging=dict(rpn=False, annotated_share=0.5),
    distiller=dict(
        spare_new=False, exclude_iou=None,
        feature=dict(loss_weight=0.2),
        rpn_cls=dict(loss_weight=0.02), rpn_reg=dict(loss_weight=0.02),
        roi_cls=dict(_delete_=True, type='MixedKDLoss', temperature=2.0, old_weight=2.0, background_weight=5.0),
        roi_reg=dict(loss_weight=1.0),
        score=dict(loss_weight=0.02)))
