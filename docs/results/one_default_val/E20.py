train_cfg = dict(max_epochs=20, val_interval=20)
