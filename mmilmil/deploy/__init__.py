"""From a checkpoint to an ONNX file that runs where there is no torch."""
