"""The structure of a pruned detector: which channels of each layer survived, and cutting a detector to it.

A pruned detector is the stock one with narrower layers. Its structure travels in the checkpoint's ``meta['structure']``, as
tensors and names only, so that torch's safe loading takes it. Masks are always those of the full detector: pruning a pruned
detector once more gives masks of the same length, and the channels of any two prunings can be compared.
"""

import copy
from collections.abc import Mapping
from typing import Optional

import torch
from torch import Tensor, nn

from ..errors import InputError

Structure = dict[str, dict[str, Tensor]]
"""By layer name, ``inputs`` and ``outputs``: bool masks over the channels of the full layer. What is whole is left out."""
SIDES = ('inputs', 'outputs')

_LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)


def widths(layer: nn.Module) -> tuple[int, int]:
    """Input and output channels of a convolution, linear layer or batch normalisation.

    Of a grouped convolution the inputs are those of the whole layer, not of one group.
    """
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels, layer.out_channels
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.num_features, layer.num_features


def compose(first: Optional[Structure], second: Structure) -> Structure:
    """The structure after pruning twice.

    Args:
        first: Structure before the second pruning, on the full detector's channels; ``None`` of a full detector.
        second: Structure that the second pruning left, on the channels that the first one left.

    Returns:
        Masks over the full detector's channels.
    """
    both = {name: dict(masks) for name, masks in (first or {}).items()}
    for name, masks in second.items():
        mine = both.setdefault(name, {})
        for side, mask in masks.items():
            if side in mine:
                whole = mine[side].clone()
                whole[mine[side]] = mask
                mine[side] = whole
            else:
                mine[side] = mask
    return both


def equal(one: Optional[Structure], other: Optional[Structure]) -> bool:
    """Whether two structures leave the same channels of every layer."""
    one, other = one or {}, other or {}
    return one.keys() == other.keys() and all(
        masks.keys() == other[name].keys() and all(torch.equal(mask, other[name][side]) for side, mask in masks.items())
        for name, masks in one.items())


def cut(detector: nn.Module, structure: Structure, source: str) -> None:
    """Take the channels that did not survive out of a full detector, in place.

    Parameters stay the same objects, so an optimizer may hold them already. What is left is remembered as
    ``detector.structure``, and ``detector.survivors`` says which channels of its feature maps are left
    (:func:`surviving_channels`).

    Args:
        detector: A full detector.
        structure: What to leave.
        source: Where the structure comes from, for messages.

    Raises:
        InputError: the structure is another detector's, or leaves of a grouped convolution what is none. The detector is
            unchanged then.
    """
    _check_fits(detector, structure, source)
    detector.survivors = surviving_channels(detector, structure)
    layers = dict(detector.named_modules())
    for name, masks in structure.items():
        _cut_layer(layers[name], *_both_masks(layers[name], masks))
    detector.structure = structure


def _check_fits(detector: nn.Module, structure: Structure, source: str) -> None:
    layers = dict(detector.named_modules())
    for name, masks in structure.items():
        layer = layers.get(name)
        if not isinstance(layer, _LAYERS):
            raise InputError(f'the structure in {source} names a layer {name}, which this detector does not have: give it the '
                             'config of the detector that was pruned')
        for side, width in zip(SIDES, widths(layer)):
            if side in masks and len(masks[side]) != width:
                raise InputError(f'the structure in {source} is of a detector whose layer {name} had {len(masks[side])} {side} '
                                 f'before pruning; in this one it has {width}: give it the config of the detector that was '
                                 'pruned')
        if isinstance(layer, nn.Conv2d):
            _check_groups(name, layer, *_both_masks(layer, masks), source)


def _check_groups(name: str, layer: nn.Conv2d, inputs: Tensor, outputs: Tensor, source: str) -> None:
    for mask in (inputs, outputs):
        left = mask.reshape(layer.groups, -1).sum(dim=1)
        if len(left[left > 0].unique()) != 1 or not torch.equal(left > 0, left_groups(layer, outputs)):
            raise InputError(f'the structure in {source} leaves {left.tolist()} channels in the {layer.groups} groups of the '
                             f'convolution {name}, which is no convolution in groups: each group that is left has to keep as '
                             'many; prune the detector again')


def left_groups(layer: nn.Conv2d, outputs: Tensor) -> Tensor:
    """Which groups of a convolution are left, (groups,) bool: of a depth-wise one each channel is a group.

    Args:
        layer: The convolution before it is cut.
        outputs: Bool mask over its output channels.
    """
    return outputs.reshape(layer.groups, -1).any(dim=1)


def _both_masks(layer: nn.Module, masks: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return tuple(masks.get(side, torch.ones(width, dtype=torch.bool)) for side, width in zip(SIDES, widths(layer)))


def _cut_layer(layer: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
    inputs, outputs = inputs.to(layer.weight.device), outputs.to(layer.weight.device)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
            if values is not None:
                values.data = values.data[outputs]
        layer.num_features = int(outputs.sum())
        return
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        # An output reads the inputs of its own group only, so which columns stay is another matter in each group.
        parts = [group[rows][:, columns] for group, rows, columns in zip(
            layer.weight.data.chunk(layer.groups), outputs.chunk(layer.groups), inputs.chunk(layer.groups)) if rows.any()]
        layer.weight.data = torch.cat(parts)
        layer.groups = len(parts)
    else:
        layer.weight.data = layer.weight.data[outputs][:, inputs]
    if layer.bias is not None:
        layer.bias.data = layer.bias.data[outputs]
    names = ('in_channels', 'out_channels') if isinstance(layer, nn.Conv2d) else ('in_features', 'out_features')
    for name, mask in zip(names, (inputs, outputs)):
        setattr(layer, name, int(mask.sum()))


@torch.no_grad()
def surviving_channels(detector: nn.Module, structure: Structure) -> dict[str, list[Tensor]]:
    """Which channels of a full detector's feature maps survive a pruning.

    Found by lighting them up, whatever the backbone: in a copy, every layer gives 1 on its surviving channels and 0 on the
    others, whatever comes in. A channel of a map is dark where all that flows into it was pruned.

    Args:
        detector: The full detector.
        structure: What survives.

    Returns:
        ``backbone_levels`` and ``neck_levels``: a bool mask over the channels of each map of backbone and neck.
    """
    lit = copy.deepcopy(detector).eval().cpu().float()
    for name, layer in lit.named_modules():
        if not isinstance(layer, _LAYERS):
            continue
        layer.weight.zero_()
        layer.bias = nn.Parameter(_both_masks(layer, structure.get(name, {}))[1].float().cpu(), requires_grad=False)
    backbone_levels = lit.backbone(torch.zeros(1, 3, 64, 64))
    maps = dict(backbone_levels=backbone_levels, neck_levels=lit.neck(backbone_levels) if lit.with_neck else backbone_levels)
    return {kind: [level.amax(dim=(0, 2, 3)) > 0 for level in levels] for kind, levels in maps.items()}


def common_channels(one: nn.Module, other: nn.Module, kind: str) -> list[Optional[tuple[Tensor, Tensor]]]:
    """Where two prunings of one detector keep the same channels of the feature maps.

    Args:
        one, other: Detectors, full or cut.
        kind: ``backbone_levels`` or ``neck_levels``.

    Returns:
        Of each map the indices of the common channels in ``one`` and in ``other``; ``None`` where both have the same ones.
        Empty if both detectors are full.

    Raises:
        InputError: the full detectors differ in width.
    """
    mine, theirs = (getattr(detector, 'survivors', None) for detector in (one, other))
    if mine is None and theirs is None:
        return []
    pairs = []
    for own, known in zip(*_filled((mine or {}).get(kind), (theirs or {}).get(kind))):
        if len(own) != len(known):
            raise InputError(f'teacher and student are prunings of different detectors: one of their '
                             f'{kind.replace("_", " ")} has {len(known)} channels before pruning in the teacher and {len(own)} '
                             'in the student')
        common = own & known
        same = torch.equal(own, known)
        pairs.append(None if same else (common[own].nonzero().squeeze(1), common[known].nonzero().squeeze(1)))
    return pairs


def _filled(one: Optional[list[Tensor]], other: Optional[list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """Masks of a full detector are all ones, as many as the pruned one's."""
    full = [torch.ones_like(mask) for mask in one or other]
    return one or full, other or full


def read_structure(meta: Mapping, source: str) -> Optional[Structure]:
    """The structure in a checkpoint's meta information, on the CPU; ``None`` of a full detector.

    Args:
        meta: ``checkpoint['meta']``.
        source: The checkpoint's path, for the message.

    Raises:
        InputError: it is damaged.
    """
    structure = meta.get('structure')
    if structure is None:
        return None
    whole = isinstance(structure, Mapping) and all(
        isinstance(masks, Mapping) and set(masks) <= set(SIDES)
        and all(isinstance(mask, Tensor) and mask.dtype is torch.bool and mask.dim() == 1 for mask in masks.values())
        for masks in structure.values())
    if not whole:
        raise InputError(f'the structure in the checkpoint {source} (meta.structure) is damaged: prune the detector again')
    # Resuming loads a checkpoint straight to the GPU.
    return {name: {side: mask.cpu() for side, mask in masks.items()} for name, masks in structure.items()}
