"""Which layers of an int8 model are to stay in float for it to keep its AP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Attempt:
    """A model that was tried.

    Attributes:
        left: Names of the layers left in float.
        value: What it reached.
        drop: By how much that is less than the float model.
    """

    left: tuple[str, ...]
    value: float
    drop: float


@dataclass
class Search:
    """What was tried, in its order.

    Attributes:
        attempts: All of them, the one with every layer in int8 first.
        best: The one with the fewest layers in float that is within the limit; None: there is none.
        ranking: Names of the layers, those that cost most first, with what each of them moves by itself; empty where it was not
            needed.
    """

    attempts: list[Attempt] = field(default_factory=list)
    best: Attempt | None = None
    ranking: list[tuple[str, float]] = field(default_factory=list)


def search(names: Sequence[str], measure: Callable[[Sequence[str]], float], cost: Callable[[str], float], target: float,
           limit: float) -> Search:
    """Leave layers in float until what is measured is within the limit.

    Where it is not with every layer in int8, the layers are ranked by what each costs alone. The first one of the ranking, the
    first two, four and so on stay in float until that suffices, up to half of all; between the last two numbers the smallest
    that suffices is found by halving.

    Args:
        names: The layers.
        measure: What a model reaches, more is better, by the names of the layers that are left in float.
        cost: What a layer by itself costs in int8.
        target: What the float model reaches.
        limit: How much less may be reached.
    """
    found = Search()

    def fits(number: int) -> bool:
        left = tuple(name for name, _ in found.ranking[:number])
        value = measure(left)
        found.attempts.append(Attempt(left, value, target - value))
        if target - value <= limit:
            found.best = found.attempts[-1]
            return True
        return False

    if fits(0):
        return found
    most = len(names) // 2
    found.ranking = sorted(((name, cost(name)) for name in names), key=lambda one: -one[1])
    too_few, number = 0, min(1, most)
    while number and not fits(number):
        too_few, number = number, min(2 * number, most) if number < most else 0
    while number - too_few > 1:
        middle = (too_few + number) // 2
        too_few, number = (too_few, middle) if fits(middle) else (middle, number)
    return found
