# MMA (Cermelli et al. 2022): unbiased cross entropy and unbiased distillation of the RoI head, and Faster-ILOD's RPN terms.
# docs/methods.md.
from mmilmil.overlays import classified_by

# Published for 1 or 2, 5 and 10 new classes.
num_new = _base_.metainfo['split'][-1]
roi_weight = 1.0 if num_new <= 2 else 0.5 if num_new <= 5 else 0.1
model = dict(
    roi_head=classified_by(_base_.model, dict(type='UnbiasedCrossEntropyLoss', loss_weight=1.0)),
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        roi_cls=dict(type='UnbiasedKDLoss', loss_weight=roi_weight),
        roi_reg=dict(type='RoIDeltaLoss', squared=True, loss_weight=roi_weight),
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=None,
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
