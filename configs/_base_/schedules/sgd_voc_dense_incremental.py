# SGD for a later stage of a dense detector on VOC2007: as that of the two-stage ones, a tenth of the first stage's
# learning rate.
_base_ = './sgd_voc_incremental.py'
optim_wrapper = dict(optimizer=dict(lr=5e-4))
joint = dict(optim_wrapper=dict(optimizer=dict(lr=5e-3)))
