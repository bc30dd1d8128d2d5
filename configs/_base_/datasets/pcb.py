# DeepPCB-320 in VOC layout: 320x320 crops, six kinds of defect. Its folder is found through an environment variable.
_base_ = './voc_style_small.py'
data_root = '{{$MMILMIL_PCB_ROOT:data/DeepPCB-320}}'
# In alphabetical order; a stage config takes the first ones.
all_classes = ('copper', 'mousebite', 'open', 'pin-hole', 'short', 'spur')

# A defect is the same defect upside down.
flip = dict(type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal'])
train_pipeline = [*_base_.train_pipeline[:3], flip, _base_.train_pipeline[4]]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = dict(dataset=dict(data_root=data_root))
