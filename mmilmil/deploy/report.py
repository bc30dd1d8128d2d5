"""What an export tells of itself, in words."""

from collections.abc import Mapping

from ..evaluation.tables import results_table
from ..table_layout import markdown_table, size_told
from .parity import BOX_TOLERANCE, SCORE_TOLERANCE

REPORT = 'report'


def report_text(report: Mapping) -> str:
    """The report in Markdown.

    Args:
        report: What tools/export_onnx.py writes into ``report.json``: ``model``, ``parity``, ``ap`` and ``made_by``.
    """
    model, parity, figures = report['model'], report['parity'], report['ap']
    size = 'x'.join(map(str, model['input_size'])) if model['input_size'] else f'any multiples of {model["divisor"]}'
    lines = [
        f'# {model["detector"]} of {report["checkpoint"]}', '',
        markdown_table([('', 'value'),
                        ('input, height x width', size),
                        ('file', size_told(model['bytes'])),
                        ('checkpoint', size_told(model['checkpoint_bytes'])),
                        ('nodes', model['nodes']),
                        ('operators (all of ONNX itself)', len(model['operators'])),
                        ('version of the operators', model['opset'])]), '',
        f'## Parity with torch, {parity["images"]} images ({parity["source"]})', '',
        f'Equal is one label, a box within {BOX_TOLERANCE} pixels of the resized image and a score within {SCORE_TOLERANCE}.',
        '',
        markdown_table([('', 'value'),
                        ('detections by torch', parity['detections']),
                        ('without an equal one', parity['unmatched']),
                        ('on one side of a threshold, on the other by rounding', parity['at_threshold']),
                        ('largest difference of a box (pixels)', f'{parity["box"]:.2g}'),
                        ('largest difference of a score', f'{parity["score"]:.2g}'),
                        ('torch, one thread (ms)', f'{parity["torch_ms"]:.1f}'),
                        ('ONNX Runtime, one thread (ms)', f'{parity["onnx_ms"]:.1f}'),
                        ('torch / ONNX Runtime', f'{parity["torch_ms"] / parity["onnx_ms"]:.2f}')])]
    if parity['left_out']:
        lines += ['', f'{parity["left_out"]} images do not fit into the input and are left out.']
    lines += ['', '## AP on val', '']
    lines.append(results_table({name: figures[name] for name in ('torch', 'onnx')}) if 'torch' in figures
                 else f'Not measured: {figures["not_measured"]}.')
    machine = report['made_by']['machine']
    lines += ['', f'`{report["made_by"]["command"]}`, {machine["cpu"]}, {machine["system"]}']
    return '\n'.join(lines) + '\n'
