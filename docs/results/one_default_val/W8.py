model = dict(roi_head=dict(bbox_head=dict(loss_cls=dict(class_weight=[1.0]*15+[8.0]*5+[1.0]))))
