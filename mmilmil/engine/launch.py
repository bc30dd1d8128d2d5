"""Several processes and mixed precision where there is no GPU: MMEngine has both, but on GPUs only."""

import os

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from ..errors import InputError

# By what a process is started that has the numbers which MMEngine's launchers read.
_STARTED = dict(pytorch=('RANK', 'torchrun, as tools/dist_train.sh does'), slurm=('SLURM_PROCID', 'srun'),
                mpi=('OMPI_COMM_WORLD_RANK', 'mpirun'))
# Where they read the number of a process on its machine, which MMEngine takes for the number of a GPU.
_LOCAL_RANK = dict(pytorch='LOCAL_RANK', slurm='SLURM_LOCALID', mpi='OMPI_COMM_WORLD_LOCAL_RANK')


def use_launcher(cfg: Config, launcher: str) -> None:
    """Set the launcher of a run; without a GPU its processes run on CPU and exchange data by gloo.

    Args:
        cfg: The run's config, changed in place.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        InputError: the process was not started by the launcher, or there is no GPU for it.
    """
    cfg.launcher = launcher
    if launcher == 'none':
        return
    variable, starter = _STARTED[launcher]
    if variable not in os.environ:
        raise InputError(f'--launcher {launcher}: {variable} is not set: start this by {starter}, or leave --launcher out')
    if get_device() != 'cpu':
        number, there = int(os.environ.get(_LOCAL_RANK[launcher], 0)), torch.cuda.device_count()
        if get_device() == 'cuda' and number >= there:
            raise InputError(f'process {number} of this machine has no GPU of its own, of {there} that it sees: start as many '
                             'processes a machine as it has GPUs; under Slurm each has to see all of them (--gres=gpu:N)')
        return
    # MMEngine calls torch.cuda.set_device, which does nothing for a negative number and fails for every other one.
    os.environ[_LOCAL_RANK[launcher]] = '-1'
    cfg.merge_from_dict(dict(env_cfg=dict(dist_cfg=dict(backend='gloo'))))
    # MMEngine's own wrapper, which it would give the number of a GPU.
    wrapper = cfg.get('model_wrapper_cfg') or dict(
        broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False))
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def end_together() -> None:
    """Wait for all processes of a run: gloo aborts one that still talks to another that has ended."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def use_training_flags(cfg: Config, amp: bool = False, auto_scale_lr: bool = False) -> None:
    """What the flags of ``train.py`` make of a run's config.

    Args:
        cfg: The run's config, changed in place.
        amp: ``--amp``, see :func:`use_mixed_precision`.
        auto_scale_lr: ``--auto-scale-lr``, MMEngine's scaling of the learning rate with the total batch size.

    Raises:
        InputError: the config does not tell the batch size that its learning rate is for, or see there.
    """
    if amp:
        use_mixed_precision(cfg)
    if auto_scale_lr:
        if not {'enable', 'base_batch_size'} <= cfg.get('auto_scale_lr', {}).keys():
            raise InputError(f'{cfg.filename} has no auto_scale_lr.enable and auto_scale_lr.base_batch_size: add '
                             'auto_scale_lr = dict(enable=False, base_batch_size=...) or leave --auto-scale-lr out')
        cfg.auto_scale_lr.enable = True


def use_mixed_precision(cfg: Config) -> None:
    """Train with automatic mixed precision: by default float16 on a GPU, always bfloat16 on CPU.

    Args:
        cfg: The run's config, changed in place; ``optim_wrapper.dtype`` is the user's choice.

    Raises:
        InputError: the device cannot do it, or not with that type.
    """
    device, settings = get_device(), cfg.optim_wrapper
    if device == 'mps':
        raise InputError('--amp does not work on mps, where MMEngine has no mixed precision: leave it out')
    if device != 'cpu':
        settings.type = 'AmpOptimWrapper'
        settings.setdefault('loss_scale', 'dynamic')
        return
    dtype = settings.pop('dtype', 'bfloat16')
    if dtype != 'bfloat16':
        raise InputError(f'optim_wrapper.dtype = {dtype!r}: without a GPU --amp trains in bfloat16 only, so leave it out')
    settings.pop('loss_scale', None)  # bfloat16 reaches as far down as float32: nothing to scale
    settings.type = 'CpuAmpOptimWrapper'
