"""Networks as the rule sees them: unit layers that learn and passive layers between them.

- `plan.py` is all the rule needs: `Plan`, `UnitLayer`, `Passage`.
- `mlp.py` makes the plan and state of a plain multi-layer perceptron for meta-training.
- `read.py` reads the plan of a Keras model: `chain.py` walks the model into a list of layers,
  `fold.py` folds weights, batch normalisation and nonlinearity into unit layers, `route.py` runs
  what lies between two unit layers.

A new plastic layer type (Conv2D, say) is one new file beside `plastic/dense.py`: a class
registered with `register_connection`. A new passive layer type is a class in `passive.py`
registered with `register_passive`.
"""
