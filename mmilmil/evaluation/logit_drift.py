"""How far a student's logits of the old classes have moved from the teacher's, on the old objects themselves."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class LogitDrift:
    """Sums over old objects; :meth:`add` them, then read.

    What is compared are the logits of the C_o old classes alone, so that neither new classes nor the background count: how the
    old ones are ranked. Both distances stay 0 where all logits of an object move by one amount, as their softmax does.

    Attributes:
        objects: Number of objects.
        kl: Sum over objects of KL(softmax(teacher) || softmax(student)) over the old classes, in nats.
        difference: Sum over objects of the mean absolute difference of the old logits, each side less its own mean.
        same: Objects whose highest old logit is of the same class for both.
    """

    objects: int = 0
    kl: float = 0.
    difference: float = 0.
    same: int = 0

    def add(self, student: Tensor, teacher: Tensor) -> None:
        """Count objects.

        Args:
            student: Its logits of the old classes, (P, C_o).
            teacher: The teacher's, (P, C_o).
        """
        if not len(student):
            return
        student, teacher = student.double(), teacher.double()
        mine, hers = student.log_softmax(dim=1), teacher.log_softmax(dim=1)
        self.objects += len(student)
        self.kl += float((hers.exp() * (hers - mine)).sum())
        centred = (student - student.mean(dim=1, keepdim=True)) - (teacher - teacher.mean(dim=1, keepdim=True))
        self.difference += float(centred.abs().mean(dim=1).sum())
        self.same += int((student.argmax(dim=1) == teacher.argmax(dim=1)).sum())

    def means(self) -> dict[str, int | float | None]:
        """``objects``, and by object ``kl``, ``difference`` and ``same``, a share; None without an object."""
        number = self.objects
        return dict(objects=number, **{name: getattr(self, name) / number if number else None
                                       for name in ('kl', 'difference', 'same')})
