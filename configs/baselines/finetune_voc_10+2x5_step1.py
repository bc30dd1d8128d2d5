# Second stage of VOC2007 10+2x5, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_voc_10+2x5_step1.py'
model = dict(distiller=None, merging=None)
