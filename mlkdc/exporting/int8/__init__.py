"""Static quantization to int8, by format, and the ladder that keeps accuracy."""
