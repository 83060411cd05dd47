"""The rule on PyTorch: every step is made eagerly, without gradients."""

import torch

from keras_learned_rule.fit.backends.base import Backend


class TorchBackend(Backend):
    """See `Backend`."""

    def make_step(self, step, *arguments):
        """See `Backend`."""
        with torch.no_grad():
            return step(*arguments)

    def put_rows(self, variable, rows, values):
        """See `Backend`."""
        variable.assign(variable.value.index_copy(0, rows.long(), values))

    def make_function(self, model, kind, step):
        """See `Backend`."""
        del kind
        if model.steps_per_execution > 1:
            raise ValueError(
                "Keras on PyTorch needs compile(steps_per_execution=1). "
                f"Received: steps_per_execution={model.steps_per_execution}"
            )

        def run(batches):
            (data,) = batches
            with torch.no_grad():
                return step.run(data)

        return run
