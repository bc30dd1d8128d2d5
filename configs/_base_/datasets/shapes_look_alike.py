# Drawn shapes, make_shapes_dataset.py --scenario look-alike: as apart, and the new classes resemble old ones.
_base_ = './shapes.py'
data_root = '{{$MMILMIL_SHAPES_LOOK_ALIKE_ROOT:data/shapes_look_alike}}'
all_classes = ('circle', 'cross', 'ring', 'square', 'squircle', 'washer')

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
