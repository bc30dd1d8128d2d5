# SGD for the first stage of a dense detector (RetinaNet, ATSS, GFL) on VOC2007: MMDetection trains them with 0.01 for a
# batch of 16, half as much an image as its two-stage detectors, so 5e-3 for a batch of 8.
# https://github.com/open-mmlab/mmdetection/blob/v3.3.0/configs/pascal_voc/retinanet_r50_fpn_1x_voc0712.py
_base_ = './sgd_voc.py'
optim_wrapper = dict(optimizer=dict(lr=5e-3))
