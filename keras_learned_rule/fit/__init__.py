"""Training Keras models with a rule, and measuring what they learned.

- `callback.py`, `model.py` and `step.py` are the three ways in: `LearnedRule` for one fit,
  `LearnedRuleModel` for every fit, `learned_rule_step` for loops of one's own.
- `binding.py` connects the rule to Keras variables, with `reading.py` (what learns of a model),
  `variables.py` (weights as the rule's state), `memory.py` (running means, a teacher, backward
  weights, steps done), `statistics.py` (moving statistics of batch normalisation), `guard.py`
  (nothing that is not finite gets into the weights), `replicas.py` (copies of the model) and
  `inputs.py` (batches in all their forms).
- `site_network.py` and `chain_network.py` propose an update, from the examples that `watching.py`,
  `site_call.py` and `masks.py` take out of a forward pass.
- `backends/` has what depends on the framework, an adapter each; `stateless.py` makes the step a
  pure function.
- `takeover.py` replaces the training step of a model for one fit; `schedule.py` knows where in
  its inner loop that fit stands; `monitor.py` makes the logs, with `layer_sizes.py`; `watch.py`
  ends a fit that failed and keeps one going that another callback has changed;
  `unfitted_copies.py` copies callbacks; `checks.py` and `initial_weights.py` refuse what cannot
  work.
- `summary.py` says what a fit will train, and `step_memory.py` what memory a step needs.
- `readout.py` and `probe.py` measure few-shot accuracy.
"""
