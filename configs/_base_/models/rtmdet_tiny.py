# RTMDet-tiny with the ImageNet weights of its backbone, as MMDetection's own `rtmdet/rtmdet_tiny_8xb32-300e_coco.py` but
# for two settings; a test compares the two. What is said here is the difference to the small model.
#
# Batch norm is BN in the place of SyncBN, which several processes on CPU cannot run; weights have the same names and
# shapes. On several GPUs `model.use_syncbn=True` makes it SyncBN. And images are padded to a multiple
# of 32 by the data preprocessor, in the place of a grey frame up to 640x640 by the pipeline, which would count as a part
# of the image.
_base_ = './rtmdet_small.py'
model = dict(
    backbone=dict(
        widen_factor=0.375,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            # The name holds no hash, so the file is taken as it comes.
            checkpoint='https://download.openmmlab.com/mmdetection/v3.0/rtmdet/cspnext_rsb_pretrain/'
            'cspnext-tiny_imagenet_600e.pth')),
    neck=dict(in_channels=[96, 192, 384], out_channels=96),
    bbox_head=dict(in_channels=96, feat_channels=96),
    test_cfg=dict(nms_pre=30000, score_thr=0.001, max_per_img=300))
