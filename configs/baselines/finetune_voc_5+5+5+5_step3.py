# Fourth stage of VOC2007 5+5+5+5, R50-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_voc_5+5+5+5_step3.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_voc_5+5+5+5_step2.py',
        checkpoint='work_dirs/finetune_voc_5+5+5+5_step2/final.pth'))
