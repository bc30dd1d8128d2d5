# RTMDet of half RTMDet-tiny's width, small enough to train from scratch on two cores.
_norm = dict(type='BN')
_act = dict(type='SiLU', inplace=True)

model = dict(
    type='RTMDet',
    # MMDetection's RTMDet makes BN SyncBN wherever there are several processes, on CPU too, which has none.
    use_syncbn=False,
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        bgr_to_rgb=False,
        pad_size_divisor=32),
    backbone=dict(
        type='CSPNeXt',
        arch='P5',
        expand_ratio=0.5,
        deepen_factor=0.167,
        widen_factor=0.1875,
        channel_attention=True,
        norm_cfg=_norm,
        act_cfg=_act),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=[48, 96, 192],
        out_channels=48,
        num_csp_blocks=1,
        expand_ratio=0.5,
        norm_cfg=_norm,
        act_cfg=_act),
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=1,  # every stage config sets its own
        in_channels=48,
        feat_channels=48,
        stacked_convs=2,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=False,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=_norm,
        act_cfg=_act),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.01, nms=dict(type='nms', iou_threshold=0.65), max_per_img=100))
