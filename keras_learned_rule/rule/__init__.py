"""The update rule: pure functions of tensors, and the files that hold its parameters."""
