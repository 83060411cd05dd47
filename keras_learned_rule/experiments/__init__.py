"""The experiments of the paper, one command each: `python -m keras_learned_rule.experiments`."""
