# Joint training, the upper bound: a stock detector on all boxes of all classes that the stage has seen, from the start. Where
# it is trained longer or faster than the stage, the stage's `joint` says how.
from mmilmil.stock import stock_model_cfg

model = dict(_delete_=True, **stock_model_cfg(_base_.model))
train_dataloader = dict(dataset=dict(keep='seen', replay=None, unlabelled=None))
train_cfg = _base_.joint.train_cfg
param_scheduler = _base_.joint.param_scheduler
optim_wrapper = _base_.joint.optim_wrapper
default_hooks = dict(memory=dict(type='MemoryHook', per_class=0))
