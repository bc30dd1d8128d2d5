"""A neck that hands on some of the backbone levels."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from ...errors import InputError
from ...registry import MODELS


# The second is its former name, which stock configs of finished VGG16 detectors still have.
@MODELS.register_module(name=['SelectLevels', 'SelectStages'])
class SelectLevels(BaseModule):
    """Pass chosen backbone maps to the heads unchanged; it has no parameters.

    The hints read the backbone's own outputs and so see every level, while the RPN and the RoI head get only these.

    Args:
        indices (Sequence[int]): Positions in the backbone's output; negative ones count from the end.
    """

    def __init__(self, indices: Sequence[int] = (-1, )) -> None:
        super().__init__()
        self.indices = tuple(indices)

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Select the maps.

        Args:
            inputs (Sequence[Tensor]): The backbone's maps, each (N, C_i, H_i, W_i).

        Returns:
            tuple[Tensor]: The chosen ones, in the order of ``indices``.

        Raises:
            InputError: The backbone gives too few maps.
        """
        try:
            return tuple(inputs[i] for i in self.indices)
        except IndexError:
            raise InputError(f'SelectLevels: indices={self.indices}, but the backbone returns {len(inputs)} maps; '
                             'change indices or the out_indices of the backbone') from None
