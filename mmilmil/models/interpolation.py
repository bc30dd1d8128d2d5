"""Weights between a teacher's and those of the student that started from it (CLeWI, arXiv 2404.04002)."""

import torch
from torch import Tensor, nn

from ..errors import InputError
from .growth import grown_state_dict
from .meaning import check_same_meaning
from .structure import equal


class Interpolation:
    """The straight line from a teacher to its student in the space of weights.

    ``theta(alpha) = theta_T + alpha (theta_S - theta_T)`` for whatever growth takes from the teacher
    (:func:`mmilmil.models.growth.grown_state_dict`), statistics of batch norm among it. Rows of new classes, which the teacher
    has not, and counters, which have nothing in between, are the student's for every alpha. (The box rows of new classes under
    a class-agnostic teacher start from the teacher's, so they are on the line too.)

    Args:
        teacher: Detector of C_o classes.
        student: The same detector of C_o + C_n classes, trained.
        source: What the teacher is, for messages, as ``the teacher w.pth``.

    Raises:
        InputError: the two are different detectors, pruned to different structures, or mean different things by the same
            numbers.
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, source: str = 'the teacher') -> None:
        structures = [getattr(detector, 'structure', None) for detector in (teacher, student)]
        if not equal(*structures):
            told = ['pruned' if structure else 'full' for structure in structures]
            raise InputError(f'{source} is {told[0]} and the student {told[1]}{", to another structure" * all(structures)}: '
                             'there is nothing between weights of other shapes. Interpolate a student with the structure of '
                             'its teacher')
        check_same_meaning(teacher, student, source)
        self.end = {name: value.clone() for name, value in student.state_dict().items()}
        self.start = grown_state_dict(teacher.state_dict(), student, teacher)

    def at(self, alpha: float) -> dict[str, Tensor]:
        """The state dict at ``alpha``; at 0 the grown teacher, at 1 the student, both bit for bit.

        Args:
            alpha: In [0, 1].
        """
        return {name: torch.lerp(self.start[name], end, alpha) if end.is_floating_point() else end
                for name, end in self.end.items()}
