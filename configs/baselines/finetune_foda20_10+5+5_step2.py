# Third stage of FODA-20 10+5+5, small R18-FPN, by plain fine-tuning: the earlier detector's weights, the new data and
# nothing that keeps the old classes.
_base_ = '../ilmil/frcnn_foda20_10+5+5_step2.py'

model = dict(
    distiller=None,
    merging=None,
    teacher=dict(
        config='{{ fileDirname }}/finetune_foda20_10+5+5_step1.py',
        checkpoint='work_dirs/finetune_foda20_10+5+5_step1/final.pth'))
