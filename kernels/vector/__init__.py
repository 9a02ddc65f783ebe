"""Row-wise kernels: norms, activations, softmax, rotary embedding, look-up; how vendors' libraries walk rows."""
