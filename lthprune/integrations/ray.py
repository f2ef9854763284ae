"""A Ray cluster that trains trials, controls and cells of sweeps; needs the package ``ray``.

See the page [Several machines](../how-to/many-machines.md) of the documentation.
"""

import signal
import socket
import threading
from collections import deque
from types import TracebackType
from typing import Any

from lthprune.errors import LthpruneError, warn_caller
from lthprune.experiments import Finished, Job, Lost, Message, ResourceSpec, perform

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("lthprune on a cluster needs Ray: pip install 'lthprune[ray]'") from error

_POLL = 0.2  # seconds between two looks for messages
_WAIT = 20  # seconds for an answer from a cluster


class RayCluster:
    """A Ray cluster as a context manager, for ``run_recipe_on`` and its like.

    Args:
        address: of the cluster, as in ``"auto"`` or ``"10.0.0.1:6379"``; by default that of the environment's
            ``RAY_ADDRESS``, else of a cluster that was started on this machine, else of a new one on this machine.
            A connection that the caller made with ``ray.init`` is used, and stays.

    Raises:
        LthpruneError: there is no cluster at this address.

    Examples:
        >>> recipe = lthprune.load_recipe("lenet-digits")  # doctest: +SKIP
        >>> with RayCluster("auto") as cluster:  # doctest: +SKIP
        ...     run = lthprune.experiments.run_recipe_on(cluster, recipe, "lenet-digits")
    """

    def __init__(self, address: str | None = None) -> None:
        self._connected = not ray.is_initialized()
        if self._connected:
            _connect(address)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = _Mailbox.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
        self._inbox: deque[tuple[int, Message]] = deque()
        self._attempts: dict[Any, tuple[int, str]] = {}  # of the running tasks: their numbers, and names of jobs
        self._started = 0
        self._shared: list[tuple[Any, Any]] = []  # files of several jobs, which are stored once

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        ray.kill(self._mailbox)
        if self._connected:
            ray.shutdown()

    def submit(self, job: Job, resources: ResourceSpec) -> None:
        """Start a job as soon as a node has these resources."""
        needs = {"CPU": resources.cpus, "GPU": resources.gpus}
        if not any(all(node["Resources"].get(name, 0) >= need for name, need in needs.items()) for node in _nodes()):
            warn_caller(
                f"no node of the Ray cluster has {resources.cpus:g} CPUs and {resources.gpus:g} GPUs at present, which "
                f"{job.name} waits for. Lower resources.cpus or resources.gpus, or add such a node.",
                UserWarning,
            )
        self._started += 1
        words = (job.name, job.work, job.inside, job.shown)
        task = _perform.options(num_cpus=resources.cpus, num_gpus=resources.gpus, name=job.name).remote(
            self._mailbox, self._started, *words, *map(self._stored, job.files)
        )
        self._attempts[task] = (self._started, job.name)

    def receive(self) -> tuple[str, Message]:
        """Wait for the next message of any running job."""
        while True:
            self._inbox.extend(ray.get(self._mailbox.take.remote()))
            while self._inbox:
                number, message = self._inbox.popleft()
                for task, (attempt, name) in list(self._attempts.items()):
                    if attempt == number:
                        if isinstance(message, Finished):
                            del self._attempts[task]
                        return name, message
            ended, _ = ray.wait(list(self._attempts), timeout=_POLL)
            for task in ended:
                self._inbox.extend(ray.get(self._mailbox.take.remote()))
                number, name = self._attempts[task]
                try:
                    ray.get(task)
                except RayTaskError:
                    raise
                except RayError as error:
                    del self._attempts[task]
                    return name, Lost(f"{type(error).__name__}")

    def cancel(self) -> None:
        """Stop all jobs, and drop their messages."""
        for task in self._attempts:
            ray.cancel(task, force=True)
        self._attempts.clear()
        self._inbox.clear()
        self._shared.clear()

    def _stored(self, files: Any) -> Any:
        """Return a reference to files in Ray's object store."""
        for known, reference in self._shared:
            if known is files:
                return reference
        self._shared.append((files, ray.put(files)))
        return self._shared[-1][1]


@ray.remote(num_cpus=0)
class _Mailbox:
    """Messages of workers, kept beside the driver until it takes them."""

    def __init__(self) -> None:
        self._messages: list[tuple[int, Message]] = []

    def put(self, number: int, message: Message) -> None:
        self._messages.append((number, message))

    def take(self) -> list[tuple[int, Message]]:
        taken, self._messages = self._messages, []
        return taken


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _perform(mailbox: Any, number: int, name: str, work: Any, inside: str, shown: str, *files: Any) -> None:
    """Do a job in a worker; each message has arrived before the work goes on."""
    perform(Job(name, files, work, inside, shown), lambda message: ray.get(mailbox.put.remote(number, message)))


def _connect(address: str | None) -> None:
    """Connect to a cluster; signals end the process as before, though Ray installs a handler of its own."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    host, _, port = (address or "").rpartition(":")
    try:
        if port.isdigit() and "/" not in host:  # to which Ray itself would try to connect for minutes
            socket.create_connection((host, int(port)), timeout=_WAIT).close()
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise LthpruneError(
            f"there is no Ray cluster at {address or 'the default address'} ({error}). Start one with `ray start "
            "--head` on one machine and `ray start --address=HOST:6379` on the others, and give its address."
        ) from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]
