"""Bytes of a compressed model as an ONNX file, by arithmetic."""
