"""A Keras model as the rule sees it: sites with weights that learn, and taps that watch them."""
