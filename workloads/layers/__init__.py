"""From a layer to operators: tensors, buffers and one module for each kind of layer part."""
