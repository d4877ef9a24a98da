"""Images as tensors: decoded, drawn as random views, cut into patches."""
