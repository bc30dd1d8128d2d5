# The demo set 4+2 by plain fine-tuning: the teacher's weights, the new data and nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_shapes_4+2.py'
model = dict(distiller=None, merging=None)
