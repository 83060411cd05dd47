"""Training Keras models with a rule, and measuring what they learned.

- `callback.py`, `model.py` and `step.py` are the three ways in: `LearnedRule` for one fit,
  `LearnedRuleModel` for every fit, `learned_rule_step` for loops of one's own.
- `binding.py` connects the rule to Keras variables, with `variables.py` (weights as the rule's
  state), `memory.py` (running means, a teacher, backward weights, steps done), `statistics.py`
  (moving statistics of batch normalisation), `guard.py` (nothing that is not finite gets into the
  weights), `replicas.py` (tf.distribute) and `inputs.py` (batches in all their forms).
- `backends/` has what depends on the framework, an adapter each; `stateless.py` makes the step a
  pure function.
- `takeover.py` replaces the training step of a model for one fit; `schedule.py` knows where in
  its inner loop that fit stands; `monitor.py` makes the logs; `watch.py` ends a fit that failed
  and keeps one going that another callback has changed; `unfitted_copies.py` copies callbacks;
  `checks.py` and `initial_weights.py` refuse what cannot work.
- `readout.py` and `probe.py` measure few-shot accuracy.
"""
