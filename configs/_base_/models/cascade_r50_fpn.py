# Cascade R-CNN with ResNet-50 and FPN, setting by setting MMDetection's own `_base_/models/cascade-rcnn_r50_fpn.py`; a test
# compares the two. What is said here is the difference to Faster R-CNN.
_base_ = './frcnn_r50_fpn.py'
_head = dict(
    _base_.model.roi_head.bbox_head, reg_class_agnostic=True, loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0))
_stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
_rcnn = _base_.model.train_cfg.rcnn

model = dict(
    type='CascadeRCNN',
    rpn_head=dict(loss_bbox=dict(type='SmoothL1Loss', beta=1.0 / 9.0)),
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[dict(_head, bbox_coder=dict(_head['bbox_coder'], target_stds=stds)) for stds in _stds]),
    train_cfg=dict(
        rpn=dict(allowed_border=0),
        rpn_proposal=dict(max_per_img=2000),
        rcnn=[
            dict(_rcnn, assigner=dict(_rcnn['assigner'], pos_iou_thr=iou_thr, neg_iou_thr=iou_thr, min_pos_iou=iou_thr))
            for iou_thr in (0.5, 0.6, 0.7)
        ]))
