# FaCHD (2026) with one teacher: cross-head distillation as in cross_head.py, and when training ends the classifier is put right
# by prototypes of what the teacher's feature memory keeps, carried over to the student. docs/methods.md.
from mmilmil.overlays import anew

model = dict(
    distiller=dict(
        _delete_=True,
        type='MFRRKDistiller',
        spare_new=False,
        rpn_cls=dict(type='RPNObjectnessHingeLoss', loss_weight=1.0),
        rpn_reg=dict(type='RPNDeltaLoss', margin=0.1, loss_weight=1.0),
        # Between equal columns this is the divergence of FaCHD, mean over the classes; its weight is that of VOC 10+10.
        cross_head=dict(type='UnbiasedKDLoss', subtract_entropy=True, loss_weight=20.0),
        cross_head_reg=dict(type='RoIDeltaLoss', beta=1.0, loss_weight=1.0),
        candidates=128,
        num_rois=64,
        exclude_iou=None),
    merging=dict(_delete_=True, score_thr=0.75, iou_thr=0.4, nms_iou_thr=0.3),
    frozen=(),
    norm_eval=True,
    # Nothing is replayed while it trains.
    **anew(_base_.model, memory=dict(per_step=0)))
default_hooks = dict(prototypes=dict(type='PrototypeCalibrationHook', new_weight=0.4))
