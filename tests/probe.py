"""A hook that writes down what the processes of a run did, and a config in which their work can be added up."""

import sys
from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from mmilmil.engine.runner_state import bare_model
from mmilmil.registry import HOOKS

WRITTEN = []  # files that this process opened for writing, or renamed to, since this module was imported


def _watch(event: str, args: tuple) -> None:
    if event == 'open' and isinstance(args[1], str) and set(args[1]) & set('wax+'):
        WRITTEN.append(str(args[0]))
    elif event == 'os.rename':
        WRITTEN.append(str(args[1]))


sys.addaudithook(_watch)


@HOOKS.register_module()
class ProbeHook(Hook):
    """Leaves ``rank<n>.pth`` in the work dir.

    That is: ``losses`` and ``weights`` after every iteration, the last state dict with buffers, the names of the parameters in
    the buckets that the processes exchanged, how many of those are the teacher's, and the files written into the work dir.
    """

    priority = 'LOWEST'

    def before_train(self, runner):
        self.losses, self.weights, self.bucketed = [], [], {}
        if is_model_wrapper(runner.model):
            runner.model.register_comm_hook(None, self._exchange)

    def _exchange(self, state, bucket):
        self.bucketed.update({id(weight): weight for weight in bucket.parameters()})
        return allreduce_hook(state, bucket)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: value.item() for name, value in outputs.items()})
        self.weights.append({name: weight.detach().clone() for name, weight in bare_model(runner).named_parameters()})

    def after_train(self, runner):
        model, work_dir = bare_model(runner), Path(runner.work_dir)
        names = {id(weight): name for name, weight in model.named_parameters()}
        teachers = {id(weight) for weight in (*model.teacher.parameters(), *model.teacher.buffers())}
        seen = {id(value) for value in (*runner.model.parameters(), *runner.model.buffers())}
        torch.save(
            dict(
                losses=self.losses,
                weights=self.weights,
                state_dict=model.state_dict(),
                bucketed=sorted(names.get(key, 'not of the student') for key in self.bucketed),
                teachers=len(teachers & (seen | self.bucketed.keys())),
                written=sorted({Path(path).name for path in WRITTEN if str(work_dir) in path})),
            work_dir / f'rank{get_rank()}.pth')


# Each loss is a mean over as many things in every image, and nothing is drawn at random: the mean over shares of a batch is
# then the loss of the batch. Adam would make large steps of the smallest differences.
ADDABLE = """
_base_ = './student.py'
custom_imports = dict(imports=['mmilmil', 'probe'])
custom_hooks = [dict(type='ProbeHook')]
pipeline = [step for step in _base_.train_pipeline if step['type'] != 'RandomFlip']
model = dict(
    backbone=dict(norm_eval=True),
    teacher=dict(max_proposals=20),
    distiller=dict(
        feature=dict(type='FeatureMSELoss'), rpn_reg=dict(type='RPNDeltaLoss', margin=None), roi_reg=dict(type='RoIDeltaLoss'),
        score=None, spare_new=False, exclude_iou=None, num_rois=20),
    train_cfg=dict(
        rpn=dict(assigner=dict(pos_iou_thr=0.5, neg_iou_thr=0.5), sampler=dict(num=10000, pos_fraction=1.0)),
        rpn_proposal=dict(max_per_img=20),
        rcnn=dict(sampler=dict(num=10000, pos_fraction=1.0, add_gt_as_proposals=False))))
train_dataloader = dict(sampler=dict(shuffle=False), dataset=dict(pipeline=pipeline))
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.05))
"""
# The method as it is.
PROBED = """
_base_ = './student.py'
custom_imports = dict(imports=['mmilmil', 'probe'])
custom_hooks = [dict(type='ProbeHook')]
"""
