# Sixth stage of VOC2007 15+1x5, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and nothing
# that keeps the old classes.
_base_ = '../ilmil/frcnn_voc_15+1x5_step5.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_voc_15+1x5_step4.py',
        checkpoint='work_dirs/finetune_voc_15+1x5_step4/final.pth'))
