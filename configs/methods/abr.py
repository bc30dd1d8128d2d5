# ABR (Liu et al. 2023) without its box replay, which is a setting of the training set: MMA's two unbiased terms, and attentive
# distillation of the pooled RoI features. docs/methods.md.
from mmilmil.overlays import classified_by

# Published for 1, 5 and 10 or more new classes.
num_new = _base_.metainfo['split'][-1]
roi_weight, feature_weight = (1.0, 1.0) if num_new <= 2 else (0.5, 1.0) if num_new <= 5 else (0.1, 0.5)
gamma = 5.0 if num_new == 1 else 1.0
model = dict(
    roi_head=classified_by(_base_.model, dict(type='UnbiasedCrossEntropyLoss', loss_weight=1.0)),
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        roi_cls=dict(type='UnbiasedKDLoss', loss_weight=roi_weight),
        roi_reg=dict(type='RoIDeltaLoss', squared=True, loss_weight=roi_weight),
        roi_feature=dict(type='AttentiveRoILoss', gamma=gamma, loss_weight=feature_weight),
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=None,
    memory=None,
    frozen=(),
    norm_eval=True)
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
