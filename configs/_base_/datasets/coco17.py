# COCO 2017. Its folder, the one with annotations/, train2017/ and val2017/ in it, is found through an environment
# variable. As in the literature: trained on train2017, reported on val2017 (the labels of COCO's own test images are not
# public), 1333/800 px, AP over the IoU thresholds .5 to .95. Crowds are not
# learnt, what lies on them counts as background (docs/protocol.md, 2).
#
# Choose on images of train2017, report on val2017 (protocol 12). val2017 stands in the place of the test set, so by
# default no validation runs: what is chosen by it would be too good. To choose a setting, cut the list of images in two,
# train on one part and validate on the other; annotations of images that a file does not list are left out:
#   cd $MMILMIL_COCO_ROOT/annotations
#   jq -c '.images |= .[5000:]' instances_train2017.json > choose_train.json
#   jq -c '.images |= .[:5000]' instances_train2017.json > choose_val.json
# and in a config that inherits the stage:
#   train_dataloader = dict(dataset=dict(ann_file='annotations/choose_train.json'))
#   val_dataloader = dict(dataset=dict(ann_file='annotations/choose_val.json', data_prefix=dict(img='train2017/')))
#   val_evaluator = dict(ann_file=f'{_base_.data_root}/annotations/choose_val.json')
#   train_cfg = dict(val_begin=1)
dataset_type = 'IncrementalCocoDataset'
data_root = '{{$MMILMIL_COCO_ROOT:data/coco}}'
# In the order of COCO's category ids; a stage config takes the first ones.
all_classes = ('person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat', 'traffic light',
               'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow',
               'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella', 'handbag', 'tie', 'suitcase', 'frisbee',
               'skis', 'snowboard', 'sports ball', 'kite', 'baseball bat', 'baseball glove', 'skateboard', 'surfboard',
               'tennis racket', 'bottle', 'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple',
               'sandwich', 'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch',
               'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote', 'keyboard',
               'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock', 'vase', 'scissors',
               'teddy bear', 'hair drier', 'toothbrush')
scale = (1333, 800)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    # The homography lets cached teacher boxes follow the image.
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'homography_matrix')),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=16,  # on one GPU; 2 on each of eight. For another total call tools/train.py with --auto-scale-lr.
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    type='IncrementalCocoMetric', ann_file=f'{data_root}/{val_dataloader["dataset"]["ann_file"]}')
test_evaluator = val_evaluator
