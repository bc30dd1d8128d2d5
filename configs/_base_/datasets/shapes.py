# The built-in demo set of drawn shapes, written by tools/make_shapes_dataset.py: 160x160 px, several objects an image.
_base_ = './voc_style_small.py'
data_root = '{{$MMILMIL_SHAPES_ROOT:data/shapes}}'
# In alphabetical order; a stage config takes the first ones.
all_classes = ('circle', 'cross', 'ring', 'square', 'star', 'triangle')

resize = dict(type='Resize', scale=(160, 160), keep_ratio=True)
# Shapes are drawn at any angle.
flip = dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
train_pipeline = [*_base_.train_pipeline[:2], resize, flip, _base_.train_pipeline[4]]
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(data_root=data_root, pipeline=test_pipeline))
