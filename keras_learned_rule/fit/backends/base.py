"""What a fit with the rule asks of a backend, and what most backends answer."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops


class Step(NamedTuple):
    """A step that Keras is to run in place of its own.

    Attributes:
        run: Function of one batch as Keras passes it. It changes variables and returns a dict of
            logs.
        variables: Those that it changes beside the variables of the model.
    """

    run: Callable[[Any], dict]
    variables: list


class Backend:
    """The interface of the adapters.

    Attributes:
        end_of_data: The exceptions by which an iterator of Keras says that it has ended.
    """

    end_of_data: tuple = (StopIteration,)

    def check_compiled(self, model):
        """Raises ValueError where the rule cannot run as the model is compiled or distributed."""
        del model

    def check_processes(self, what, number):
        """Raises ValueError unless all processes of the fit pass the same number.

        Args:
            what: Str, what it is the number of, as for the message.
            number: A non-negative integer.
        """
        del what, number

    def check_predicts(self):
        """Raises ValueError where Keras cannot read the outputs of `predict` in one process."""

    def check_traced(self, x, variable):
        """Raises ValueError where a compiler traces a step without the variables as arguments.

        Args:
            x: The batch.
            variable: A variable that the step changes.
        """
        del x, variable

    def scope(self, model):
        """The context in which variables of the rule are made."""
        del model
        return contextlib.nullcontext()

    def make_step(self, step, *arguments):
        """Calls the function of a step in the way that suits the backend."""
        return step(*arguments)

    def replicas(self, model):
        """Over how many copies of the model a batch is divided."""
        del model
        return 1

    def replicas_in_step(self):
        """How many copies make this step at once; inside of a step."""
        return 1

    def sum_over_replicas(self, tensor):
        """The sum of a tensor over the copies; inside of a step."""
        return tensor

    def rows(self, variable, rows):
        """Rows of a variable, without a copy of all of it."""
        return ops.take(variable, rows, axis=0)

    def put_rows(self, variable, rows, values):
        """Sets rows of a variable, in place where the backend can.

        Args:
            variable: A `keras.Variable`.
            rows: Integer tensor `[n]`, no row twice.
            values: Tensor `[n, ...]`.
        """
        variable.assign(ops.scatter_update(variable, rows[:, None], values))

    def make_function(self, model, kind, step):
        """Makes what Keras calls for every batch of training or validation.

        Args:
            model: The compiled `keras.Model`.
            kind: "train" or "test".
            step: A `Step`.

        Returns:
            A function of the arguments of `train_function` or `test_function` on this backend.
        """
        raise NotImplementedError
