"""What the files of methods call that lie in ``configs/methods``."""

from collections.abc import Mapping

from .errors import InputError


def anew(settings: Mapping, **values: dict) -> dict:
    """Settings that replace those of the stage whole, whether it has them or not.

    Args:
        settings: What the stage has in that place, such as ``_base_.model``.
        **values: By name the new ones.
    """
    # MMEngine takes `_delete_` out only where there is something to delete.
    return {name: dict(value, _delete_=True) if name in settings else dict(value) for name, value in values.items()}


def classified_by(model: Mapping, loss_cls: Mapping) -> dict:
    """Settings of ``model.roi_head`` that give every box head this classification loss, whatever it had.

    Args:
        model: The stage's model, ``_base_.model``.
        loss_cls: Config of the loss.

    Raises:
        InputError: the model has no box head behind RoIs.
    """
    heads = (model.get('roi_head') or {}).get('bbox_head')
    if not heads:
        raise InputError(f"its classification loss, {loss_cls['type']}, is of two-stage detectors, and a {model.get('type')} "
                         'has no model.roi_head.bbox_head')
    if isinstance(heads, Mapping):
        return dict(bbox_head=dict(loss_cls=dict(loss_cls, _delete_=True)))
    # A cascade's heads are a list, which is replaced as a whole.
    return dict(bbox_head=[{**head, 'loss_cls': dict(loss_cls)} for head in heads])
