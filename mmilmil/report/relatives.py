"""Which runs belong together: a student and its teachers, and what stands beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluation.detections_file import Detections
from ..evaluation.sources import same_sets, sources
from .run import Run, is_run


@dataclass(frozen=True)
class Settings:
    """What a report can be told.

    Attributes:
        score_thr: Detections of lower scores are left out where errors are counted and pictures drawn.
        images: Pictures of each kind at most.
        seed: Of the pictures that are drawn at random.
    """

    score_thr: float = 0.3
    images: int = 3
    seed: int = 0


def ancestors(run: Run) -> list[Run]:
    """The chain that ends in a run, the first stage first: the teachers whose folders are there and have figures."""
    chain, seen = [run], {run.folder.resolve()}
    while (folder := chain[0].teacher) and folder.resolve() not in seen:
        seen.add(folder.resolve())
        teacher = Run(folder)
        if teacher.figures is None:
            run.problems += [line for line in teacher.problems if line not in run.problems]
            break
        chain.insert(0, teacher)
    return chain


def apart(one: Run, other: Run) -> str | None:
    """Why the figures of two runs, which both have some, do not compare; ``None`` where they do.

    Figures that do not tell their sets, as those of a stock dataset, compare with others that do not where they are of as
    many images.
    """
    if one.tested != other.tested:
        tested, not_tested = (one, other) if one.tested else (other, one)
        return f'those of {tested.name} are of the test set, those of {not_tested.name} of the validation set'
    for key, what in (('iou_thr', 'IoU'), ('eval_mode', 'way of averaging')):
        if one.figures.get(key) != other.figures.get(key):
            return f'those of {one.name} and {other.name} are by another {what}'
    mine, theirs = bool(sources(one.figures)), bool(sources(other.figures))
    if mine != theirs:
        return f'those of {other.name if mine else one.name} do not tell on which sets they were measured'
    if not same_sets(one.figures, other.figures) or (
            not mine and one.figures.get('images') != other.figures.get('images')):
        return f'those of {one.name} and {other.name} are of different sets'
    return None


def comparable(chain: Sequence[Run]) -> list[Run]:
    """The end of a chain, from the first stage whose figures, and those of all after it, compare with the last one's.

    What is left out is told among the last one's problems.
    """
    kept = [chain[-1]]
    for run in reversed(chain[:-1]):
        if reason := apart(chain[-1], run):
            line = f'the figures of {run.name} are left out where stages are compared: {reason}'
            line += f'. Test it: {run.test_command}' if kept[-1].tested and not run.tested else ''
            if line not in kept[-1].problems:
                kept[-1].problems.append(line)
            break
        kept.insert(0, run)
    return kept


def beside(run: Run) -> list[Run]:
    """Runs in the same folder whose figures compare: those of the same classes on the same sets; joint training comes last."""
    if run.figures is None:
        return []
    found = []
    for folder in _folders(run.folder.resolve().parent):
        if folder == run.folder.resolve() or not is_run(folder):
            continue
        other = Run(folder)
        figures = other.figures
        if figures and all(figures[key] == run.figures[key] for key in ('classes', 'split')) and not apart(run, other):
            found.append(other)
    return sorted(found, key=lambda other: other.is_joint)


def joint_of(runs: Sequence[Run]) -> Run | None:
    """Joint training among runs."""
    return next((run for run in runs if run.is_joint), None)


def chains_among(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs as chains, each from its first stage to its last: those that no other run has for its teacher end one."""
    by_folder = {run.folder.resolve(): run for run in runs}
    teacher_of = {run.folder.resolve(): run.teacher.resolve() for run in runs if run.teacher}
    chains = []
    for folder, run in by_folder.items():
        if folder in teacher_of.values():
            continue
        chain, place = [run], folder
        while (place := teacher_of.get(place)) in by_folder and by_folder[place] not in chain:
            chain.insert(0, by_folder[place])
        chains.append(chain)
    # Of a circle, as folders that were copied over one another may make, no run is the end.
    return [*chains, *([run] for run in runs if not any(run in chain for chain in chains))]


def runs_in(folder: Path) -> list[Run]:
    """The runs whose work dirs lie in a folder."""
    return [Run(path) for path in _folders(folder) if is_run(path)]


def _folders(parent: Path) -> list[Path]:
    """What lies in a folder; nothing of one that is not there or may not be read."""
    try:
        return sorted(parent.iterdir())
    except OSError:
        return []


def aligned(found: Detections, other: Detections | None) -> list[int] | None:
    """For each image of one test its place in another, by path, or by name where all lie elsewhere.

    Returns:
        The places; ``None`` where the other test is of other images, or does not know the same classes in the same order.
    """
    if other is None:
        return None
    shorter = min(len(found.stage.classes), len(other.stage.classes))
    if found.stage.classes[:shorter] != other.stage.classes[:shorter]:
        return None
    for key in (str, lambda path: Path(path).name):
        places = {key(path): place for place, path in enumerate(other.paths)}
        if len(places) == len(other.paths) and all(key(path) in places for path in found.paths):
            return [places[key(path)] for path in found.paths]
    return None
