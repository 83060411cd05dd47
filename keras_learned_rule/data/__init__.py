"""Data sets held in memory as arrays, and their augmentation."""
