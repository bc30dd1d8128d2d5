"""Running an exported model where there is no torch: onnxruntime, NumPy and Pillow are all that this room imports."""
