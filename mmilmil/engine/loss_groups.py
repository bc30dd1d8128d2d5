"""What the terms of a loss are for, by their names."""

_BEGIN = dict(distillation='loss_kd_', memory='loss_memory_')

LOSS_GROUPS = ('detector', *_BEGIN)
"""``detector`` is the stock detector's own, on annotated and merged boxes."""


def is_loss_term(name: str) -> bool:
    """Whether a logged value is a part of the total loss, by MMEngine's rule: it has ``loss`` in its name, as
    ``s0.loss_cls`` of a cascade has.
    """
    return 'loss' in name and name != 'loss'


def loss_group(name: str) -> tuple[str, str]:
    """The group of a term, one of :data:`LOSS_GROUPS`, and what it is called there."""
    for group, begin in _BEGIN.items():
        if name.startswith(begin):
            return group, name.removeprefix(begin)
    return 'detector', name.replace('loss_', '', 1)
