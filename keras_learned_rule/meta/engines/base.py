"""What an engine is: the few things that differ between frameworks and sets of devices."""


class Engine:
    """Runs pure functions of tensors on one framework and a set of devices.

    Everything else of meta-training is written in `keras.ops`. A replica is a device with its
    share of the tasks; what is shared is the same on every replica.

    Attributes:
        replicas: Number of replicas, of all processes together.
        local_replicas: Their indices in this process.
        process: Index of this process; 0 writes logs and theta files.
        vectorizes: Whether it can compile tasks that are computed as one.
        described: Str, framework and devices for logs.
    """

    replicas = 1
    local_replicas = (0,)
    process = 0
    vectorizes = True
    described = ""

    @staticmethod
    def uniform(seed, shape):
        """Uniform float32 draws in [0, 1), a pure function of the seed ([2] int32)."""
        raise NotImplementedError

    @staticmethod
    def normal(seed, shape):
        """Standard normal float32 draws, likewise."""
        raise NotImplementedError

    @staticmethod
    def fold_in(seed, number):
        """A new seed out of a seed and an integer scalar."""
        raise NotImplementedError

    @staticmethod
    def loop(steps, body, carry):
        """Applies `carry = body(k, carry)` for k = 0..steps-1, a static number; differentiable."""
        raise NotImplementedError

    @staticmethod
    def each(function, trees):
        """Applies `function` to each entry along the first axis of a tree, one after the other."""
        raise NotImplementedError

    @staticmethod
    def remat(function):
        """`function` such that reverse mode computes it again instead of keeping its insides.

        All tensors that it differentiates must be arguments of it.
        """
        raise NotImplementedError

    @staticmethod
    def value_and_gradient(function, theta):
        """`(value, aux, gradient)` of `function(theta) -> (value, aux)`."""
        raise NotImplementedError

    def share(self, tree):
        """Puts a tree of arrays on every replica."""
        raise NotImplementedError

    def spread(self, tree):
        """Puts a tree of arrays [tasks of this process, ...] on its replicas, in equal parts."""
        raise NotImplementedError

    def fetch_shared(self, tree):
        """A shared tree as NumPy arrays."""
        raise NotImplementedError

    def fetch_spread(self, tree):
        """A spread tree as NumPy arrays [tasks of this process, ...]."""
        raise NotImplementedError

    def compile_shared(self, function):
        """Compiles `function(*shared trees) -> shared tree`; every replica computes the same."""
        raise NotImplementedError

    def compile_spread(self, function):
        """Compiles `function(shared, spread) -> (spread, sums)` to run on all replicas at once.

        Each replica gets its part of the spread tree; the trees of sums are added over replicas
        and shared.
        """
        raise NotImplementedError

    @property
    def alone(self):
        """Whether all replicas are in this process."""
        return len(self.local_replicas) == self.replicas

    def lost_process(self, error):
        """Whether an exception means that another process of the run has ended."""
        del error
        return False

    def least(self, number):
        """The smallest of the integers that the processes pass."""
        return number
