"""Copy the figures of finished runs into the documentation and print them as tables.

`python tools/analysis_tools/collect_results.py work_dirs/pcb/seed0 work_dirs/pcb/seed1 --out docs/results/pcb_4+2`: each folder
holds one work dir a stage (`tools/train_chain.py --work-dir`). Writes `<out>/<folder>/<stage>.json`: the figures with the seed
and epochs that made them, and `<out>/tables.md`: a table for each folder, and their mean where there are several.
"""

import argparse
import json
from pathlib import Path

from mmilmil.checkpoint import load_checkpoint_file
from mmilmil.engine.cli import check_folder, user_errors
from mmilmil.engine.hooks.metrics_file import TEST_FILE, read_figures
from mmilmil.engine.hooks.run_cost import read_cost
from mmilmil.engine.work_dir import FINAL_CHECKPOINT
from mmilmil.errors import InputError
from mmilmil.evaluation import chains_table, mean_figures, results_table


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Collect the figures of finished runs')
    parser.add_argument('folders', nargs='+', help='folders that hold one work dir a stage, such as one folder a seed')
    parser.add_argument('--out', required=True, help='folder for the JSON files and the tables')
    parser.add_argument('--teacher', help='stage whose old AP is the measure of keeping')
    parser.add_argument('--chain', nargs='+', action='append', default=[], metavar='STAGE',
                        help='stages of a chain, the first stage first: adds what it forgot; can be given several times')
    parser.add_argument('--joint', help='stage that is the upper bound')
    return parser.parse_args()


def record(work_dir: Path) -> dict:
    """The figures of one run's final model, with what made them."""
    meta = load_checkpoint_file(str(work_dir / FINAL_CHECKPOINT)).get('meta') or {}
    if missing := [key for key in ('seed', 'epoch', 'iter') if key not in meta]:
        raise InputError(f'{work_dir / FINAL_CHECKPOINT} does not tell its {", ".join(missing)}: it is no final model of '
                         'tools/train.py')
    figures = read_figures(work_dir / TEST_FILE)
    if figures.get('checkpoint') != FINAL_CHECKPOINT:
        raise InputError(f'{work_dir}/metrics.json holds the figures of {figures.get("checkpoint")}, not of the final model: '
                         f'test {work_dir / FINAL_CHECKPOINT}, or let tools/train_chain.py do it')
    made = dict(stage=work_dir.name, seed=meta['seed'], epochs=meta['epoch'], iterations=meta['iter'])
    cost = read_cost(work_dir)
    return dict(figures, made=made, **({'kept': cost['kept']} if cost else {}))


def read_folder(folder: Path, *needed: str) -> dict[str, dict]:
    """The figures of every finished run in ``folder`` by stage.

    Raises:
        InputError: there is none, or a ``needed`` stage is not among them.
    """
    runs = sorted(path.parent for path in folder.glob('*/metrics.json'))
    if not runs:
        raise InputError(f'{folder} holds no */metrics.json: name a folder that tools/train_chain.py --work-dir filled')
    rows = {run.name: record(run) for run in runs}
    for stage in needed:
        if stage not in rows:
            raise InputError(f'{folder} holds no finished stage {stage}: it has {", ".join(rows)}')
    return rows


def main() -> None:
    args = parse_args()
    measures = dict(teacher=args.teacher, joint=args.joint)
    needed = [*filter(None, measures.values()), *(stage for chain in args.chain for stage in chain)]
    out = check_folder(args.out, '--out')
    paths = {}
    for path in map(Path, args.folders):
        other = paths.setdefault(path.resolve().name, path)
        if other != path:
            raise InputError(f'{other} and {path} have the same last name, by which their figures are kept: rename one')
    folders = {name: read_folder(path, *needed) for name, path in paths.items()}
    sections = {}
    for name, rows in folders.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for stage, row in rows.items():
            (out / name / f'{stage}.json').write_text(json.dumps(row, indent=2) + '\n')
        sections[name] = rows
    if len(folders) > 1:
        everywhere = [stage for stage in next(iter(folders.values())) if all(stage in rows for rows in folders.values())]
        title = f'mean of {", ".join(folders)}'
        try:
            sections[title] = {stage: mean_figures([rows[stage] for rows in folders.values()]) for stage in everywhere}
        except ValueError as error:
            raise InputError(f'{", ".join(args.folders)} have no mean: {error}; collect them one by one') from error
    tables = '\n\n'.join(f'{title}\n\n{results_table(rows, **measures)}' for title, rows in sections.items())
    for name, rows in folders.items() if args.chain else ():
        chains = {chain[-1]: [rows[stage] for stage in chain] for chain in args.chain}
        tables += f'\n\n{name}, what was forgotten\n\n{chains_table(chains, rows.get(args.joint))}'
    (out / 'tables.md').write_text(f'{tables}\n')
    print(tables)


if __name__ == '__main__':
    with user_errors():
        main()
