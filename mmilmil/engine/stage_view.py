"""The live view of stages as rich draws it, from what is known of them and the size of the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from .stage_state import StageState, State, losses_told, place_told, time_told

_STYLE = {State.WAITING: 'dim', State.THERE: 'green', State.TRAINING: 'bold', State.TESTING: 'bold', State.DONE: 'green',
          State.FAILED: 'bold red', State.STOPPED: 'yellow'}
_MARK = {State.WAITING: '·.', State.THERE: '✓+', State.TRAINING: '●*', State.TESTING: '●*', State.DONE: '✓+',
         State.FAILED: '✗x', State.STOPPED: '■-'}  # the second where a terminal has letters only


def stage_view(rows: Sequence[StageState], title: str, seconds: float, width: int, height: int, plain: bool = False) -> Text:
    """A line a stage, a second one of its losses and AP while it trains.

    What does not fit is put together: first the stages that are over, then those that wait, then the second lines are left out.

    Args:
        rows: The stages.
        title: In the first line.
        seconds: Since the start.
        width: Of the terminal, in cells.
        height: Of the terminal, in lines.
        plain: Use letters of ASCII.
    """
    over = [row for row in rows if row.state in (State.DONE, State.THERE)]
    waiting = [row for row in rows if row.state is State.WAITING]
    runs = sum(row.state.runs for row in rows)
    failed = sum(row.state is State.FAILED for row in rows)
    head = f'{title}: {len(over)} of {len(rows)} stages done, {time_told(seconds)}'
    names = min(max(cell_len(row.name) for row in rows), max(width - 48, 12))
    states = max(len(row.state.value) for row in rows)
    room = height - 2  # the head, and the line on which the cursor stands
    hidden: set[int] = set()
    details = True
    count = len(rows) + runs
    if count > room:
        hidden |= _left_out(over, count - room)
        count -= len(hidden) - bool(hidden)
    if count > room:
        away = _left_out(list(reversed(waiting)), count - room)
        hidden |= away
        count -= len(away) - bool(away)
    if count > room:
        details, count = False, count - runs
    lines = [Text(_fit(head, width), style='bold red' if failed else 'bold')]
    for group, what in ((over, 'more done'), (waiting, 'more waiting')):
        number = sum(id(row) in hidden for row in group)
        if number and group is over:
            lines.append(_line(State.DONE, f'{number} {what}', plain))
        elif number:
            last = _line(State.WAITING, f'{number} {what}', plain)
    for row in rows:
        if id(row) in hidden:
            continue
        lines.append(_row(row, names, states, width, plain))
        if details and row.state.runs:
            lines.append(_detail(row, width))
    if any(id(row) in hidden for row in waiting):
        lines.append(last)
    return Text('\n').join(lines[:max(height - 1, 1)])


def _left_out(rows: Sequence[StageState], more: int) -> set[int]:
    """The first of these rows, so many that a line in their place makes room for ``more`` lines."""
    return {id(row) for row in rows[:more + 1]} if len(rows) > 1 else set()


def _line(state: State, text: str, plain: bool) -> Text:
    return Text(f'{_MARK[state][plain]} {text}', style=_STYLE[state])


def _row(row: StageState, names: int, states: int, width: int, plain: bool) -> Text:
    line = _line(row.state, f'{_fit(row.name, names)} {row.state.value:<{states}}  ', plain)
    room = width - cell_len(line.plain)
    if row.state.runs:
        progress = row.progress()
        place, left = place_told(progress), progress.get('left')
        told = f'{place}{f"  {time_told(left)} left" if left is not None else ""}'
        if progress and room > len(told) + 8:
            line.append(_bar(progress, min(room - max(len(told), 24) - 2, 30), plain), style='cyan')
            line.append('  ')
        line.append(told)
    elif row.state is not State.WAITING:
        line.append('  '.join(filter(None, (time_told(row.spent) if row.spent else '', row.figures()))), style='default')
    line.truncate(width, overflow='ellipsis')
    return line


def _detail(row: StageState, width: int) -> Text:
    losses, figures = row.progress().get('losses') or {}, row.figures()
    told = losses_told(losses)
    for count in range(len(losses), -1, -1):  # as many terms as fit
        told = losses_told(losses, count)
        if len(told) + len(figures) + 6 <= width:
            break
    line = Text(f'    {"  ".join(filter(None, (told, figures)))}', style='dim')
    line.truncate(width, overflow='ellipsis')
    return line


def _bar(progress: dict, size: int, plain: bool) -> str:
    filled = min(size, int(size * (progress.get('share') or 0)))
    return ('#' if plain else '━') * filled + ('-' if plain else '╌') * (size - filled)


def _fit(text: str, size: int) -> str:
    """The text in so many cells, cut in the end where it has more."""
    return set_cell_size(text, size) if cell_len(text) <= size else f'{set_cell_size(text, size - 1)}…'
