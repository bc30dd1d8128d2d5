"""docs/notebooks/compare_on_shapes.ipynb, executed from the first cell to the last on a few images."""

import shutil

import nbformat
import pytest
from conftest import REPO
from nbclient import NotebookClient

NOTEBOOK = REPO / 'docs/notebooks/compare_on_shapes.ipynb'
# In the place of the cell that is tagged `parameters`.
TINY = """IMAGES = dict(train=8, val=4, test=4)
OPTIONS = 'train_cfg.max_epochs=1 train_cfg.val_interval=1 randomness.seed=0'
WORK_DIR = 'runs'"""


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_clean(notebook):
    """Without outputs: what it says is what the reader's own run says."""
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells if cell.get('outputs') or cell.get('execution_count')] == []


def test_from_nothing_to_a_table(notebook, tmp_path, monkeypatch):
    for name in ('configs', 'tools'):
        shutil.copytree(REPO / name, tmp_path / name, ignore=shutil.ignore_patterns('__pycache__'))
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    settings, = (cell for cell in notebook.cells if 'parameters' in cell.metadata.get('tags', ()))
    settings.source = TINY
    NotebookClient(notebook, timeout=600, kernel_name='python3', resources={'metadata': {'path': str(tmp_path)}}).execute()
    said = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == 'code'}
    tables = [output.data['text/markdown'] for outputs in said.values() for output in outputs
              if 'text/markdown' in output.get('data', {})]
    assert [line.split('|')[1].strip() for line in tables[0].splitlines() if line.startswith('|')][2:] == [
        'teacher', 'fine-tuning', 'mmilmil', 'joint']
    assert any('image/png' in output.get('data', {}) for outputs in said.values() for output in outputs)
    text = ''.join(output.text for outputs in said.values() for output in outputs if output.output_type == 'stream')
    assert "old: ('circle', 'cross', 'ring', 'square')" in text and 'hidden' in text
    assert (tmp_path / 'runs/frcnn_shapes_4+2/final.pth').is_file()
