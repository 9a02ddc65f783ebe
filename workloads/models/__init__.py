"""What a model is: architectures, shapes, layers, shards, and whether it fits."""
