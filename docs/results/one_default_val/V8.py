model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(class_weight=[1.0]*4+[8.0]*2+[1.0]))))
