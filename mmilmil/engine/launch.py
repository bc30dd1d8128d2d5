"""Several processes and mixed precision where there is no GPU: MMEngine has both, but on GPUs only."""

import os

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from ..errors import InputError

# Where MMEngine's launchers read the number of a process on its machine, which it takes for the number of a GPU.
_LOCAL_RANK = dict(pytorch='LOCAL_RANK', slurm='SLURM_LOCALID', mpi='OMPI_COMM_WORLD_LOCAL_RANK')


def use_launcher(cfg: Config, launcher: str) -> None:
    """Set the launcher of a run; without a GPU its processes run on CPU and exchange data by gloo.

    Args:
        cfg: The run's config, changed in place.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
    """
    cfg.launcher = launcher
    if launcher == 'none' or get_device() != 'cpu':
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
