"""A GPU if it works, and as long as it works; the CPU otherwise: what `--device auto` means."""

import contextlib
from collections.abc import Callable
from typing import Self, TypeVar

from edge_pigment.errors import DeviceError
from edge_pigment.physics.backend import Array, Backend, Held, Outcome, Posterior, Summary

Found = TypeVar("Found")


class FallbackBackend:
    """Computes with `first` until it fails, and with `second` from then on; implements `backend.Backend`.

    Args:
        first: the backend that may fail, with a DeviceError; None: it failed already.
        second: the backend that takes over. What failed is done again, so that the result is the same.
        failure: why there is no first.
    """

    def __init__(self, first: Backend | None, second: Backend, failure: str = "") -> None:
        self.first, self.second = first, second
        self.failure = failure
        """What the first backend failed of; empty while it works."""

    @property
    def failed_midway(self) -> bool:
        """Whether the first backend worked at the beginning, and does not any more."""
        return self.first is not None and bool(self.failure)

    @property
    def name(self) -> str:
        """What computes or, where it changed, what did and what does."""
        if self.first is None:
            return self.second.name
        return f"{self.first.name}, and after it failed {self.second.name}" if self.failure else self.first.name

    @property
    def now(self) -> Backend:
        """The one that is asked next."""
        return self.second if self.first is None or self.failure else self.first

    def attempt(self, work: Callable[[Backend], Found]) -> Found:
        """Let the first do it or, if it has failed or does so now, the second."""
        if self.now is not self.second:
            try:
                return work(self.now)
            except DeviceError as error:
                self.failure = str(error)
        return work(self.second)

    def empty(self, shape: tuple[int, ...]) -> Array:
        """See `backend.Backend.empty`."""
        return self.attempt(lambda backend: backend.empty(shape))

    def hold(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> "HeldWithFallback":
        """See `backend.Backend.hold`."""
        return HeldWithFallback(self, y, b, bvecs, sigma)

    def summarise(self, y: Array, b: Array, bvecs: Array, sigma: Array) -> Summary:
        """See `backend.Backend.summarise`."""
        return self.attempt(lambda backend: backend.summarise(y, b, bvecs, sigma))

    def adapt(
        self, y: Array, b: Array, bvecs: Array, sigma: Array, mean: Array, precision_factor: Array, nu: float
    ) -> Posterior:
        """See `backend.Backend.adapt`."""
        return self.attempt(lambda backend: backend.adapt(y, b, bvecs, sigma, mean, precision_factor, nu))

    def moments(self, mode: Array, factor: Array) -> Array:
        """See `backend.Backend.moments`."""
        return self.attempt(lambda backend: backend.moments(mode, factor))


class HeldWithFallback:
    """A scan that the first backend holds, and the second after the first has failed; a `backend.Held`."""

    def __init__(self, owner: FallbackBackend, y: Array, b: Array, bvecs: Array, sigma: Array) -> None:
        self._owner, self._scan = owner, (y, b, bvecs, sigma)
        self._held = owner.attempt(self._take)
        self._by = owner.now

    def _take(self, backend: Backend) -> Held:
        return backend.hold(*self._scan)

    def _attempt(self, work: Callable[[Held], Found]) -> Found:
        def again(backend: Backend) -> Found:
            if backend is not self._by:
                self._held, self._by = self._take(backend), backend
            return work(self._held)

        return self._owner.attempt(again)

    @property
    def now(self) -> Held:
        """What holds the scan at present."""
        return self._held

    def summarise(self) -> Summary:
        """See `backend.Held.summarise`."""
        return self._attempt(lambda held: held.summarise())

    def adapt(self, mean: Array, precision_factor: Array, nu: float) -> Outcome:
        """See `backend.Held.adapt`."""
        return self._attempt(lambda held: held.adapt(mean, precision_factor, nu))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(DeviceError):  # the results are here already
            self._held.__exit__(*raised)
