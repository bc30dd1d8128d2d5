# The demo set of drawn shapes with masks: the COCO files that tools/make_shapes_dataset.py writes beside the VOC layout.
_base_ = './shapes.py'
dataset_type = 'IncrementalCocoDataset'
train_pipeline = [
    _base_.train_pipeline[0], dict(_base_.train_pipeline[1], with_mask=True), *_base_.train_pipeline[2:]]
_files = dict(type=dataset_type, data_prefix=dict(img='JPEGImages/'))
train_dataloader = dict(dataset=dict(**_files, ann_file='coco/train.json', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**_files, ann_file='coco/val.json'))
test_dataloader = dict(dataset=dict(**_files, ann_file='coco/test.json'))
val_evaluator = dict(
    _delete_=True, type='IncrementalCocoMetric', ann_file=f'{_base_.data_root}/coco/val.json', metric=['bbox', 'segm'])
test_evaluator = dict(val_evaluator, ann_file=f'{_base_.data_root}/coco/test.json')
