_base_ = './vgg_pcb_4+2.py'
model = dict(pruned='to be given', teacher=dict(config='{{ fileDirname }}/vgg_pcb_4_recover.py', checkpoint='to be given'))
