"""Units of work on the workers of a Ray cluster (https://docs.ray.io).

Ray repeats a unit whose worker or machine dies. The results are kept on this machine's disk too, so that a command that
was killed continues when it is started again with the same arguments.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from threadpoolctl import threadpool_info, threadpool_limits

from router import settings
from router.errors import ConfigurationError, MissingExtraError, PulvinarError
from router.learn.engine import Arrays
from router.learn.engine.checkpoints import Checkpoints, source_digest
from router.learn.progress import MIN_ITEMS, tracked

T = TypeVar("T")
_CONNECT_S = 5.0
_DEFAULT_PORTS = {"ray": 10001, "": 6379}
_UNITS_A_CPU = 3
"""How many units a processor has waiting, so that none is idle and few results wait in memory for an earlier one."""


@contextlib.contextmanager
def open_ray(address: str | None) -> Iterator[OnRay]:
    """Connect to the cluster at `address`: `host:port` on one of its machines, `ray://host:port` from elsewhere, `auto`
    for the one on this machine. Without an address, a cluster is started on this machine, and stopped at the end.

    Raises MissingExtraError without the extra `scale`, ConfigurationError where no cluster answers.
    """
    settings.prepare_ray()
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "scale", "--engine ray") from None
    if address not in (None, "auto"):
        _check_listens(address)
    own: dict[str, Any] = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            ignore_reinit_error=False,
            **own,
        )
    # Ray raises plain Exceptions too, and ends the process where it waits for a cluster in vain.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise ConfigurationError(_cannot_connect(address, error)) from None
    try:
        checkpoints = Checkpoints(settings.cache_folder() / "units")
        yield OnRay(ray, checkpoints)
        checkpoints.delete()
    finally:
        ray.shutdown()


class OnRay:
    """Runs units as Ray tasks of one processor each, the earliest first."""

    def __init__(self, ray: Any, checkpoints: Checkpoints) -> None:
        self._ray, self._checkpoints, self._source = ray, checkpoints, source_digest()
        self._task = ray.remote(num_cpus=1, max_retries=5)(_run)
        self._processors = max(int(ray.cluster_resources().get("CPU", 1)), 1)

    def map(
        self,
        unit: Callable[[T], Arrays],
        items: Sequence[T],
        description: str,
        min_items: int = MIN_ITEMS,
        noun: str = "",
    ) -> Iterator[Arrays]:
        """See `Engine.map`. The first units start at once."""
        if not items:
            return iter(())
        digest = self._digest(unit)
        names = [self._digest(item) for item in items]
        shared, threads = self._ray.put(unit), _threads()
        waiting: collections.deque[Any] = collections.deque()
        following, resumed = iter(zip(names, items, strict=True)), 0

        def start(count: int) -> None:
            nonlocal resumed
            while len(waiting) < count and (entry := next(following, None)) is not None:
                name, item = entry
                stored = self._checkpoints.read(digest, name)
                resumed += stored is not None
                # The unit is in a list, because Ray would send the value of a bare reference with every task.
                task = stored or self._task.remote(digest, [shared], item, threads, self._source)
                waiting.append((name, task, stored is not None))

        def results() -> Iterator[Arrays]:
            for _ in tracked(items, description, min_items, noun):
                start(ahead)
                name, task, is_stored = waiting.popleft()
                if is_stored:
                    yield task
                    continue
                result = self._result(task)
                self._checkpoints.write(digest, name, result)
                yield result
            if resumed:
                print(f"{description}: {resumed} of {len(items)} were kept from an earlier run", file=sys.stderr)  # noqa: T201

        ahead = _UNITS_A_CPU * self._processors
        start(ahead)
        return results()

    def _result(self, task: Any) -> Arrays:
        """The result of a task. Raises what its unit raised, ConfigurationError where the cluster lost it."""
        exceptions = self._ray.exceptions
        try:
            result: Arrays = self._ray.get(task)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, PulvinarError):
                raise error.cause from None
            raise
        except exceptions.RayError as error:
            first = str(error).strip().partition("\n")[0]
            raise ConfigurationError(
                f"--engine ray: a unit of work was lost although it was repeated: {first} Start the command again to "
                "continue from the results it has kept"
            ) from None
        return result

    def _digest(self, value: Any) -> str:
        """A hash of a value and of this release."""
        buffers: list[Any] = []
        payload = self._ray.cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        digest = hashlib.sha256(f"{self._source} {_threads()} ".encode() + payload)
        for buffer in buffers:
            digest.update(buffer.raw())
        return digest.hexdigest()[:32]


_last: dict[str, Callable[[Any], Arrays]] = {}
"""The unit that this worker has run last, by digest: unpacking an encoder takes longer than a batch of prompts."""


def _run(digest: str, shared: Sequence[Any], item: Any, threads: Mapping[str, int], source: str) -> Arrays:
    """Run a unit in a worker, with as many threads as it would have had in the driver: sums depend on them."""
    import ray

    if source != _own_source():
        raise ConfigurationError(
            f"--engine ray: the worker {socket.gethostname()} has another release of pulvinar than this machine; "
            "install the same one on both"
        )
    if digest not in _last:
        _last.clear()
        _last[digest] = ray.get(shared[0])
    with threadpool_limits(limits=dict(threads)):
        return _last[digest](item)


@functools.cache
def _own_source() -> str:
    return source_digest()


def _threads() -> dict[str, int]:
    """How many threads this process's BLAS and OpenMP libraries use."""
    import scipy.linalg  # noqa: F401 - its BLAS library is another than numpy's
    import sklearn.utils  # noqa: F401 - loads OpenMP

    found = {library["user_api"]: int(library["num_threads"]) for library in threadpool_info()}
    # In order, because digests depend on it, and libraries are found in the order in which they were loaded.
    return dict(sorted(found.items()))


def _check_listens(address: str) -> None:
    """Raise ConfigurationError where nothing listens at the address: Ray would try for two minutes."""
    scheme, separator, rest = address.rpartition("://")
    host, colon, port = rest.rpartition(":")
    if not colon:
        host, port = rest, str(_DEFAULT_PORTS["ray" if separator else ""])
    if (separator and scheme != "ray") or not host or not port.isdigit():
        raise ConfigurationError(
            f'--engine ray={address}: expected "host:port", "ray://host:port" or "auto", such as ray=10.0.0.5:6379'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigurationError(_cannot_connect(address, error)) from None


def _cannot_connect(address: str | None, error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    if address is None:
        return f"--engine ray: no cluster could be started on this machine: {first}"
    return (
        f"--engine ray={address}: no Ray cluster can be used there: {first}. `ray start --head` starts one, and prints "
        "its address; all its machines need the same releases of Python, ray and pulvinar, and where it has a token, "
        "this one needs RAY_AUTH_MODE=token and the token"
    )
