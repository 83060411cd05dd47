"""Replaces the training step of a model for one fit, and gives it back whatever happens."""

import sys

from keras_learned_rule.fit import backends

# Every `evaluate` begins by setting `stop_evaluating` to False. Where Keras finds this instead,
# it goes on all the same, and we see that the evaluation is still the one that we marked.
_OURS = 0


class Takeover:
    """Runs a training and a validation step of ours in place of the model's own.

    Keras calls no hook when a fit ends by an error, so the functions installed here look after
    themselves: an error inside one gives the model back, and so does the first call that does not
    belong to the fit, or the validation, they were installed in.

    Args:
        model: The compiled `keras.Model`, at the beginning of a fit.
        train_step: A `Step`.
        test_step: The same for validation.
        on_release: Function without arguments, called when the model is given back.
    """

    def __init__(self, model, train_step, test_step, on_release):
        self._model = model
        self._test_step = test_step
        self._on_release = on_release
        self.take(train_step)

    def take(self, train_step):
        """Installs our functions, made for the model as it is compiled now.

        Args:
            train_step: As that of the constructor.
        """
        self._history = self._model.history
        self._validating = False
        self._test_function = self._guarded("test", self._test_step)
        self._model.test_function = None
        self._train_function = self._guarded("train", train_step)
        self._model.train_function = self._train_function

    def holds(self):
        """Whether our functions are in place still: `compile`, say, removes them."""
        trains = self._model.train_function is self._train_function
        return trains and (not self._validating or self._model.test_function is self._test_function)

    def begin_validation(self):
        """Installs our validation step; call when validation inside the fit begins."""
        self._validating = True
        self._model.test_function = self._test_function
        self._model.stop_evaluating = _OURS

    def end_validation(self):
        """Gives the model its own validation back."""
        self._validating = False
        self._model.test_function = None

    def release(self):
        """Gives the model back; Keras makes functions of its own when it next needs them."""
        self._model.train_function = None
        self._model.test_function = None
        self._on_release()

    def _guarded(self, kind, step):
        backend = backends.current()
        function = backend.make_function(self._model, kind, step)

        def run(*batches):
            if self._is_foreign(kind, sys._getframe(1)):
                self.release()
                getattr(self._model, f"make_{kind}_function")()
                return getattr(self._model, f"{kind}_function")(*batches)
            try:
                return function(*batches)
            except backend.end_of_data:
                raise  # The data of an epoch of unknown length has ended.
            except BaseException:
                self.release()
                raise

        return run

    def _is_foreign(self, kind, caller):
        # train_on_batch and test_on_batch call no hook, and every fit has its own History.
        one_batch = caller.f_code.co_name.endswith("_on_batch")
        if one_batch or self._model.history is not self._history:
            return True
        return kind == "test" and self._model.stop_evaluating is False
