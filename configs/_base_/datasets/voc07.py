# PASCAL VOC2007. Its folder, the one with JPEGImages in it, is found through an environment variable. As in the
# literature: trained on trainval, tested on test, 600/1000 px, no box too small, 11-point AP. Difficult objects are not
# learnt, what lies on them counts as background, and in a test they are don't care (docs/protocol.md, 2, 3 and 9).
#
# Choose on val, report on test (protocol 12). The val images are part of trainval, so by default no validation runs:
# its figures would come from images that were trained on. To choose a setting, train on train and validate on val:
#   --cfg-options train_dataloader.dataset.ann_file=ImageSets/Main/train.txt train_cfg.val_begin=1
dataset_type = 'IncrementalVOCDataset'
data_root = '{{$MMILMIL_VOC_ROOT:data/VOCdevkit/VOC2007}}'
# In alphabetical order; a stage config takes the first ones.
all_classes = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable',
               'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
scale = (1000, 600)

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
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        type=dataset_type, data_root=data_root, ann_file='ImageSets/Main/trainval.txt', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='ImageSets/Main/val.txt',
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = dict(val_dataloader, dataset=dict(val_dataloader['dataset'], ann_file='ImageSets/Main/test.txt'))
val_evaluator = dict(type='IncrementalVOCMetric', eval_mode='11points')
test_evaluator = val_evaluator
