"""Figures of a mutmut run, by module: what `make mutants` prints, for docs/testing.md.

A mutant that differs from the original in the text of strings alone is counted apart: most of them only reword a message.
"""

import argparse
import ast
import difflib
import json
from collections import Counter
from pathlib import Path

from terminaltables import GithubFlavoredMarkdownTable

MUTANTS = Path(__file__).resolve().parents[1] / 'mutants'
# pytest's exit status for a mutant: failed tests or a crash of pytest; killed over the time limit. 0 is a survivor, None was
# not run, anything else is told as it is.
STATUS = {1: 'killed', 3: 'killed', -24: 'killed', 152: 'killed', 0: 'survived', 33: 'no test', None: 'not run'}


class _WithoutText(ast.NodeTransformer):

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant('') if isinstance(node.value, str) else node


def mutants_of(source: str) -> dict[str, tuple[ast.FunctionDef, ast.FunctionDef]]:
    """By mutant's name, the original function and the changed one, out of a file that mutmut has written."""
    found = {node.name: node for node in ast.walk(ast.parse(source))
             if isinstance(node, ast.FunctionDef) and '__mutmut_' in node.name}
    pairs = {name: (found[f'{name.rpartition("_")[0]}_orig'], node) for name, node in found.items()
             if not name.endswith('_orig')}
    for node in found.values():
        node.name = 'f'
    return pairs


def is_text(original: ast.FunctionDef, changed: ast.FunctionDef) -> bool:
    """Whether the two differ in nothing but the text of strings."""
    same = [ast.dump(_WithoutText().visit(ast.parse(ast.unparse(node)))) for node in (original, changed)]
    return same[0] == same[1]


def changed_lines(original: ast.FunctionDef, changed: ast.FunctionDef) -> list[str]:
    """The lines that a mutant changes, before and after."""
    before, after = (ast.unparse(node).splitlines() for node in (original, changed))
    return [line for line in difflib.unified_diff(before, after, n=0, lineterm='') if line[:3] not in ('---', '+++', '@@ ')]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--survivors', action='store_true', help='also print what each surviving mutant changes')
    args = parser.parse_args()
    total = {False: Counter(), True: Counter()}
    survivors, rows = [], [['module', 'code', 'text']]
    for path in sorted(MUTANTS.rglob('*.py.meta')):
        statuses = json.loads(path.read_text())['exit_code_by_key']
        if not statuses:
            continue
        pairs = mutants_of(path.with_suffix('').read_text())
        counts = {False: Counter(), True: Counter()}
        for key, code in statuses.items():
            pair = pairs[key.rpartition('.')[2]]
            status = STATUS.get(code, f'exit status {code}')
            counts[is_text(*pair)][status] += 1
            if status not in ('killed', 'not run'):
                survivors.append((key, status, changed_lines(*pair)))
        rows.append([str(path.relative_to(MUTANTS / 'mmilmil').with_suffix('')), _cell(counts[False]), _cell(counts[True])])
        for text, count in counts.items():
            total[text] += count
    print(GithubFlavoredMarkdownTable([*rows, ['all', _cell(total[False]), _cell(total[True])]]).table)
    if args.survivors:
        for key, status, lines in survivors:
            print('', f'{key}: {status}', *lines, sep='\n')


def _cell(counts: Counter) -> str:
    tried = counts.total() - counts['not run']
    if not tried:
        return '-' if not counts else f'{counts["not run"]} not run'
    others = ''.join(f', {number} {status}' for status, number in counts.items() if status not in ('killed', 'survived'))
    return f'{counts["killed"]} / {tried} ({counts["killed"] / tried:.1%}){others}'


if __name__ == '__main__':
    main()
