"""The live view of stages as rich draws it, from what is known of them and the size of the terminal."""

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from .stage_state import StageState, State, losses_told, place_told, time_told

_STYLE = {State.WAITING: 'dim', State.THERE: 'green', State.TRAINING: 'bold', State.TESTING: 'bold', State.DONE: 'green',
          State.FAILED: 'bold red', State.STOPPED: 'yellow'}
_MARK = {State.WAITING: '·', State.THERE: '✓', State.TRAINING: '●', State.TESTING: '●', State.DONE: '✓', State.FAILED: '✗',
         State.STOPPED: '■'}


def stage_view(rows: Sequence[StageState], title: str, seconds: float, width: int, height: int) -> Text:
    """A line a stage, a second one of its losses and AP while it trains.

    What does not fit is put together: first the stages that are over, then those that wait, then the second lines are left out.

    Args:
        rows: The stages.
        title: In the first line.
        seconds: Since the start.
        width: Of the terminal, in cells.
        height: Of the terminal, in lines.
    """
    over = [row for row in rows if row.state in (State.DONE, State.THERE)]
    waiting = [row for row in rows if row.state is State.WAITING]
    runs = sum(row.state.runs for row in rows)
    failed = sum(row.state is State.FAILED for row in rows)
    head = f'{title}: {len(over)} of {len(rows)} stages done, {time_told(seconds)}'
    names = min(max(cell_len(row.name) for row in rows), max(width - 48, 12))
    states = max(len(row.state.value) for row in rows)
    room = height - 2 - len(rows) - runs  # beside the head and the line on which the cursor stands; below 0 it does not fit
    away_over, room = _left_out(over, room)
    away_waiting, room = _left_out(waiting[::-1], room)
    lines = [Text(_fit(head, width), style='bold red' if failed else 'bold')]
    if away_over:
        lines.append(_line(State.DONE, f'{len(away_over)} more done'))
    for row in rows:
        if row not in away_over and row not in away_waiting:
            lines.append(_row(row, names, states, width))
            if row.state.runs and room >= 0 and (detail := _detail(row, width)):
                lines.append(detail)
    if away_waiting:
        lines.append(_line(State.WAITING, f'{len(away_waiting)} more waiting'))
    return Text('\n').join(lines[:max(height - 1, 1)])


def _left_out(rows: Sequence[StageState], room: int) -> tuple[Sequence[StageState], int]:
    """The first of these rows, so many that one line in their place makes the room that lacks, and the room then."""
    away = rows[:1 - room] if room < 0 and len(rows) > 1 else []
    return away, room + max(len(away) - 1, 0)


def _line(state: State, text: str) -> Text:
    return Text(f'{_MARK[state]} {text}', style=_STYLE[state])


def _row(row: StageState, names: int, states: int, width: int) -> Text:
    line = _line(row.state, f'{_fit(row.name, names)} {row.state.value:<{states}}  ')
    room = width - cell_len(line.plain)
    if row.state.runs:
        progress = row.progress()
        place, left = place_told(progress), progress.get('left')
        told = f'{place}{f"  {time_told(left)} left" if left is not None else ""}'
        if progress and room > len(told) + 8:
            line.append(_bar(progress, min(room - max(len(told), 24) - 2, 30)), style='cyan')
            line.append('  ')
        line.append(told)
    elif row.state is not State.WAITING:
        line.append('  '.join(filter(None, (time_told(row.spent) if row.spent else '', row.figures()))), style='default')
    line.truncate(width, overflow='ellipsis')
    return line


def _detail(row: StageState, width: int) -> Text:
    losses, figures = row.progress().get('losses') or {}, row.figures()
    told = ''
    for count in range(len(losses), -1, -1):  # as many terms as fit
        told = losses_told(losses, count)
        if len(told) + len(figures) + 6 <= width:
            break
    line = Text('    ' + '  '.join(filter(None, (told, figures))) if told or figures else '', style='dim')
    line.truncate(width, overflow='ellipsis')
    return line


def _bar(progress: dict, size: int) -> str:
    filled = min(size, int(size * (progress.get('share') or 0)))
    return '━' * filled + '╌' * (size - filled)


def _fit(text: str, size: int) -> str:
    """The text in so many cells, cut in the end where it has more."""
    return set_cell_size(text, size) if cell_len(text) <= size else f'{set_cell_size(text, size - 1)}…'
