# FODA-20 in VOC layout: foreign objects on airport ground, 300x300 frames of videos, 20 kinds of object, about one an image.
# Its folder is found through an environment variable.
_base_ = './voc_style_small.py'
data_root = '{{$MMILMIL_FODA20_ROOT:data/FODA-20}}'
# In alphabetical order; a stage config takes the first ones.
all_classes = ('AdjustableClamp', 'Battery', 'Bolt', 'BoltWasher', 'ClampPart', 'Cutter', 'FuelCap', 'Hammer', 'Label',
               'LuggageTag', 'Nail', 'PaintChip', 'Pen', 'PlasticPart', 'Pliers', 'Rock', 'Screwdriver', 'SodaCan', 'Wire',
               'Wrench')

train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
