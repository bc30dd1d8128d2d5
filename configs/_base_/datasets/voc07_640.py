# PASCAL VOC2007 for RTMDet: images fit into 640x640, a batch of 32. Flips alone, no mosaic or mixup: teacher and student
# see one image, and cached teacher boxes follow it.
_base_ = './voc07.py'
_resize = dict(type='Resize', scale=(640, 640), keep_ratio=True)
train_pipeline = [*_base_.train_pipeline[:2], _resize, *_base_.train_pipeline[3:]]
test_pipeline = [_base_.test_pipeline[0], _resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
