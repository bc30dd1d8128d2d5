# The small Faster R-CNN for small objects: its anchors are half as large, from 16 px, and match objects from about 9 px.
_base_ = './frcnn_r18_fpn_small.py'
model = dict(rpn_head=dict(anchor_generator=dict(scales=[4])))
