"""Meta-training: learning the parameters theta of the update rule."""
