# Eighth stage of VOC2007 10+1x10, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_voc_10+1x10_step7.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_voc_10+1x10_step6.py',
        checkpoint='work_dirs/finetune_voc_10+1x10_step6/final.pth'))
