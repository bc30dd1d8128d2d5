# Cascade R-CNN with the backbone, neck and RPN of the small Faster R-CNN; its three box heads have class-agnostic boxes and 128
# units, as the pass through them is the larger part of a step.
_base_ = './frcnn_r18_fpn_small.py'
_head = dict(_base_.model.roi_head.bbox_head, fc_out_channels=128, reg_class_agnostic=True)
_stds = ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
_rcnn = _base_.model.train_cfg.rcnn

model = dict(
    type='CascadeRCNN',
    roi_head=dict(
        type='CascadeRoIHead',
        num_stages=3,
        stage_loss_weights=[1, 0.5, 0.25],
        bbox_head=[dict(_head, bbox_coder=dict(_head['bbox_coder'], target_stds=stds)) for stds in _stds]),
    train_cfg=dict(rcnn=[
        dict(_rcnn, assigner=dict(_rcnn['assigner'], pos_iou_thr=iou_thr, neg_iou_thr=iou_thr, min_pos_iou=iou_thr))
        for iou_thr in (0.5, 0.6, 0.7)
    ]))
