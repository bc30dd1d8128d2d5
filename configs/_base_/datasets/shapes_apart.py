# Drawn shapes, make_shapes_dataset.py --scenario apart: no old object on the images of new ones.
_base_ = './shapes.py'
data_root = '{{$MMILMIL_SHAPES_APART_ROOT:data/shapes_apart}}'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
