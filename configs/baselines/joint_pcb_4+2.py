# DeepPCB with all six classes annotated from the start, for as many epochs as teacher and student together: the upper bound.
_base_ = '../ilmil/frcnn_pcb_4.py'
metainfo = dict(classes=('copper', 'mousebite', 'open', 'pin-hole', 'short', 'spur'), split=(4, 2))

model = dict(roi_head=dict(bbox_head=dict(num_classes=6)))
train_dataloader = dict(dataset=dict(metainfo=metainfo, keep='seen'))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = dict(dataset=dict(metainfo=metainfo))
