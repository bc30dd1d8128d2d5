# Drawn shapes, make_shapes_dataset.py --scenario crowded: about a dozen old objects and one small new one an image.
_base_ = './shapes.py'
data_root = '{{$MMILMIL_SHAPES_CROWDED_ROOT:data/shapes_crowded}}'
all_classes = ('circle', 'cross', 'triangle')

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
