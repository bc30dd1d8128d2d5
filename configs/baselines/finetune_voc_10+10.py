# VOC2007 10+10, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing that keeps the
# old classes.
_base_ = '../ilmil/frcnn_voc_10+10.py'
model = dict(distiller=None, merging=None)
