# FODA-20x4: four frames of FODA-20 to an image of 320x320, so that an image holds several classes.
_base_ = './foda20.py'
data_root = '{{$MMILMIL_FODA20X4_ROOT:data/FODA-20x4}}'

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
