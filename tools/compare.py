"""Methods beside each other on several splits: `python tools/compare.py configs/ilmil/frcnn_pcb_4+2.py --seeds 0 1`.

Trains and tests what is missing, in `WORK_DIR/seed<N>/<stage>`, with `--jobs N` several runs at a time. Finished runs are
skipped and stopped ones resumed, so the same command goes on after whatever stopped it. A run that fails is told with the end
of its log and stops only what stands on it. Writes table.md, comparison.json and picture.png into `--out`, and a report into
`WORK_DIR/report`. `default` among the methods stands for the stages as their configs say.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmilmil.engine.chain import FLAGS
from mmilmil.engine.cli import check_file, check_folder, number, own_tools, user_errors
from mmilmil.engine.comparison import DEFAULT, ComparedChain, check_comparison, compared_chains, final_figures, named_methods
from mmilmil.engine.comparison_runs import run_stages
from mmilmil.engine.hooks.run_cost import read_cost
from mmilmil.engine.methods import method_option
from mmilmil.engine.next_steps import closing_lines
from mmilmil.engine.provenance import made_by
from mmilmil.engine.screen import add_verbose_option, screen_for
from mmilmil.errors import InputError
from mmilmil.evaluation.comparison_table import MethodRow, MethodRun, comparison_table, lines_below, method_rows, rows_for_json
from mmilmil.evaluation.tables import measure_name
from mmilmil.report import refresh, report_after
from mmilmil.text_files import write_all
from mmilmil.visualization import MethodPoints, draw_methods

TABLE, FIGURES, PICTURE = 'table.md', 'comparison.json', 'picture.png'


def parse_args() -> argparse.Namespace:
    find = method_option(own_tools(__file__))
    parser = argparse.ArgumentParser(description='Compare methods on several splits, over seeds')
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='config file of the last stage of each split')
    parser.add_argument(
        '--methods', nargs='+', default=[find('finetune'), find('joint'), None], metavar='METHOD',
        type=lambda text: None if text == DEFAULT else find(text),
        help=f"by what each chain is trained, see train.py's --method; {DEFAULT} is as the configs say. Default: finetune "
        f'joint {DEFAULT}')
    parser.add_argument('--seeds', nargs='+', type=number(int, 0), default=[0], metavar='N', help='default 0')
    parser.add_argument('--work-dir', default='work_dirs/compare', help='folder of all runs; default work_dirs/compare')
    parser.add_argument('--out', help='folder for table, figures and picture; default: the work dir')
    parser.add_argument('--jobs', type=number(int, 1), default=1, metavar='N', help='runs at a time; default 1')
    parser.add_argument(
        '--split', choices=['test', 'val'], default='test',
        help='what the figures are of; val takes those of the validation that ends each training, and tests nothing')
    parser.add_argument(
        '--finetune', metavar='METHOD', help='the method that the time of a step is told relative to; default finetune')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch size')
    add_verbose_option(parser, 'lines of which runs start and end')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='settings for every stage')
    return parser.parse_args()


def finished_runs(chains: Sequence[ComparedChain], failed: Mapping[Path, str], on_val: bool) -> list[MethodRun]:
    """The chains that are trained to their ends, with their figures."""
    runs = []
    joint = {(chain.split, chain.method): chain.stages[-1].is_joint for chain in chains if chain.seed == chains[0].seed}
    for chain in chains:
        if any(stage.work_dir in failed for stage in chain.stages):
            continue
        measured = [stage for stage in chain.stages if not (on_val and stage.brought)]
        figures = [final_figures(stage, on_val) for stage in measured]
        runs.append(MethodRun(
            split=chain.split, method=chain.method, seed=chain.seed, stages=figures,
            complete=len(measured) == len(chain.stages) and chain.from_scratch,
            is_joint=joint[chain.split, chain.method], cost=read_cost(chain.stages[-1].work_dir)))
    return runs


def points(rows: Sequence[MethodRow]) -> dict[str, list[MethodPoints]]:
    """What the picture shows of the table."""
    panels: dict[str, list[MethodPoints]] = {}
    for row in rows:
        shown = {name: (row.figures[name].mean, row.figures[name].spread) for name in ('old', 'new', 'all')}
        panels.setdefault(row.split, []).append(MethodPoints(row.method, shown, row.is_joint))
    return panels


def shown(path: Path) -> str:
    """A path as somebody would name it who has the same checkout."""
    path = path.absolute()
    root = next((root for root in (Path.cwd(), own_tools(__file__).parent) if path.is_relative_to(root)), None)
    return str(path.relative_to(root) if root else path)


def main() -> int:
    args = parse_args()
    methods = named_methods(args.methods)
    if args.finetune not in (None, *methods):
        raise InputError(f'--finetune {args.finetune}: it is none of --methods ({", ".join(methods)}): name one, or add it')
    finetune = args.finetune or 'finetune'
    work_dir = check_folder(args.work_dir, '--work-dir')
    out = check_folder(args.out or work_dir, '--out')
    for name in (TABLE, FIGURES, PICTURE):
        check_file(out / name, '--out')
    check_file(work_dir / FIGURES, '--work-dir')
    on_val, flags = args.split == 'val', [flag for name, flag in FLAGS.items() if getattr(args, name)]
    chains = compared_chains(args.configs, methods, args.seeds, work_dir)
    check_comparison(chains, work_dir, args.cfg_options, flags, on_val)
    with screen_for((stage for chain in chains for stage in chain.stages), 'compare.py', args.verbose) as screen:
        failed = run_stages(chains, args.cfg_options, flags, args.jobs, own_tools(__file__), on_val, screen)
    finished = finished_runs(chains, failed, on_val)
    told = [f'{work_dir}: {reason}' for work_dir, reason in failed.items()]
    if not finished:
        raise InputError(f'no chain is finished, so there is nothing to compare: {"; ".join(told)}')
    try:
        rows = method_rows(finished, finetune)
    except ValueError as error:
        raise InputError(f'{work_dir}: {error}: give another --work-dir') from error
    below = [*lines_below(finished, on_val), *(f'failed: {line}' for line in told)]
    table = '\n'.join([comparison_table(rows, finetune), '', *(f'- {line}' for line in below)])
    made = made_by(own_tools(__file__), Path(__file__).name)
    folders = {(chain.split, chain.method, chain.seed): [os.path.relpath(stage.work_dir, work_dir) for stage in chain.stages]
               for chain in chains}
    content = dict(
        made=made, split=args.split, configs=args.configs,
        methods={name: file and shown(file) for name, file in methods.items()}, seeds=args.seeds,
        cfg_options=args.cfg_options, flags=flags, rows=rows_for_json(rows), failed=told,
        runs=[dict(split=run.split, method=run.method, seed=run.seed, is_joint=run.is_joint, cost=run.cost, stages=run.stages,
                   work_dirs=folders[run.split, run.method, run.seed])
              for run in finished])
    out.mkdir(parents=True, exist_ok=True)
    commit = f'\nCommit: {made["commit"]}{" with changes" * bool(made["changed"])}' if made['commit'] else ''
    figures = json.dumps(content, indent=1, allow_nan=False) + '\n'
    # Beside the runs too, where tools/report.py looks for them.
    write_all({out / TABLE: f'{table}\n\n```bash\n{made["command"]}\n```\n{commit}\n',
               **dict.fromkeys((out / FIGURES, work_dir / FIGURES), figures)})
    measure = ' or '.join(dict.fromkeys(measure_name(run.stages[-1]) for run in finished))
    draw_methods(points(rows), f'{measure} (%) on {args.split}', str(out / PICTURE))
    print(f'{table}\n\nwritten: {", ".join(str(out / name) for name in (TABLE, FIGURES, PICTURE))}')
    if not on_val:
        refresh(sorted({stage.work_dir for chain in chains for stage in chain.stages} - failed.keys()))
    report = report_after(work_dir, figures=out / FIGURES)
    whole = [chain for chain in chains if not any(stage.work_dir in failed for stage in chain.stages)]
    best = next((chain for chain in whole if chain.method == DEFAULT), whole[0])
    print(f'\n{closing_lines(best.stages[-1], own_tools(__file__), report)}')
    return 1 if failed else 0


if __name__ == '__main__':
    with user_errors():
        sys.exit(main())
