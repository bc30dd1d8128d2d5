# COCO 2017 with masks: loaded in training, and measured beside the boxes.
_base_ = './coco17.py'
train_pipeline = [
    _base_.train_pipeline[0], dict(_base_.train_pipeline[1], with_mask=True), *_base_.train_pipeline[2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = dict(metric=['bbox', 'segm'])
