# FODA-20 15+5, small R18-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps
# the old classes.
_base_ = '../ilmil/frcnn_foda20_15+5.py'
model = dict(distiller=None, merging=None)
