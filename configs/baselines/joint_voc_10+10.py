# The upper bound of 10+10: the same training as for 15+5, other groups in the report.
_base_ = './joint_voc_15+5.py'
metainfo = dict(classes=_base_.all_classes, split=(10, 10))

train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
