"""What an export tells of itself, in words."""

from collections.abc import Mapping

from ..evaluation.tables import results_table
from ..table_layout import markdown_table, size_told
from .parity import BOX_TOLERANCE, NOISE, SCORE_TOLERANCE

REPORT = 'report'


def report_text(report: Mapping) -> str:
    """The report in Markdown.

    Args:
        report: What tools/export_onnx.py writes into ``report.json``: ``model``, ``parity``, ``ap`` and ``made_by``; with
            ``--int8`` also ``int8``, see :func:`mmilmil.deploy.int8_export.make_int8`.
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
                        (f'on one side by a hair: both agree at noise of {NOISE} grey levels', parity['by_noise']),
                        ('largest difference of a box (pixels)', f'{parity["box"]:.2g}'),
                        ('largest difference of a score', f'{parity["score"]:.2g}'),
                        ('torch, one thread (ms)', f'{parity["torch_ms"]:.1f}'),
                        ('ONNX Runtime, one thread (ms)', f'{parity["onnx_ms"]:.1f}'),
                        ('torch / ONNX Runtime', f'{parity["torch_ms"] / parity["onnx_ms"]:.2f}')])]
    if parity['left_out']:
        lines += ['', f'{parity["left_out"]} images do not fit into the input and are left out.']
    lines += ['', '## AP on val', '']
    lines.append(results_table({name: figures[name] for name in ('torch', 'onnx', 'int8') if name in figures})
                 if 'torch' in figures else f'Not measured: {figures["not_measured"]}.')
    if 'int8' in report:
        lines += ['', '## int8', '', *_int8_lines(report['int8'], model['bytes'])]
    machine = report['made_by']['machine']
    lines += ['', f'`{report["made_by"]["command"]}`, {machine["cpu"]}, {machine["system"]}']
    return '\n'.join(lines) + '\n'


def _int8_lines(int8: Mapping, float_bytes: int) -> list[str]:
    calibration, kept = int8['calibration'], int8['left_in_float'] is not None
    rows = [('', 'value'),
            ('instructions for int8', int8['processor']['told']),
            ('bits of a weight', int8['weight_bits']),
            ('calibration images', f'{calibration["images"]} ({calibration["source"]})'),
            (f'{int8["measured_by"]}, float', f'{int8["float"]:.4f}')]
    if kept:
        rows += [(f'{int8["measured_by"]}, int8', f'{int8["reached"]:.4f}'),
                 ('layers in int8', f'{int8["layers"] - len(int8["left_in_float"])} of {int8["layers"]}'),
                 ('file', size_told(int8['bytes'])),
                 ('int8 / float, file', f'{int8["bytes"] / float_bytes:.2f}'),
                 ('float, one thread (ms)', f'{int8["float_ms"]:.1f}'),
                 ('int8, one thread (ms)', f'{int8["int8_ms"]:.1f}'),
                 ('float / int8', f'{int8["float_ms"] / int8["int8_ms"]:.2f}')]
    lines = [markdown_table(rows), '']
    if calibration['left_out']:
        lines += [f'{calibration["left_out"]} of the calibration images do not fit into the input and are left out.', '']
    lines += [f'In float by rule, as they make boxes and scores: {", ".join(int8["last_in_float"])}.']
    if not kept:
        lines.append(f'No int8 model is kept: none loses {int8["limit"]:g} or less.')
    elif int8['left_in_float']:
        lines.append(f'Left in float for {int8["measured_by"]}: {", ".join(int8["left_in_float"])}.')
    if len(int8['attempts']) > 1:
        lines += ['', markdown_table([('layers left in float', int8['measured_by'], 'less than float'),
                                      *((len(one['left']), f'{one["value"]:.4f}', f'{one["drop"]:.4f}')
                                        for one in int8['attempts'])])]
    if int8['why_not_ap']:
        lines += ['', f'Agreement is AP with what the float model finds on {int8["images"]} images ({int8["source"]}) as the '
                  f'truth; AP itself is not measured: {int8["why_not_ap"]}.']
    if calibration['by_the_model']:
        lines += ['', f'What the images show of {", ".join(calibration["by_the_model"])} is by the float model\'s detections.']
    if calibration['unseen']:
        lines += ['', f'No calibration image shows {", ".join(calibration["unseen"])}: what int8 costs these classes is not '
                      'known.']
    return lines
