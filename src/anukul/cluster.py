"""Work on Ray Data: the same function over numbered items, on this machine or a cluster, results in order."""

import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from anukul.errors import UserError

Given = TypeVar("Given")
Made = TypeVar("Made")


def mapped(
    worker: Callable[[Given], Callable[[int], Made]],
    given: Given,
    items: int,
    workers: int,
    address: str | None = None,
    gpus: int | None = 0,
) -> Iterator[Made]:
    """Yield what the workers make of item 0, 1 … `items` - 1, in this order.

    Each worker is given `gpus` GPUs, None: its share of those that there are. Which ones, Ray decides: a worker sees
    its own alone, numbered from 0.

    `worker(given)` is called once in each of `workers` processes and gives the function that is called with items; both
    must be picklable. `address` names a running cluster, else one of `workers` processors is started here and stopped
    at the end. On several machines, files that workers read must lie on a file system that they share. Raises UserError
    where Ray is missing, cannot be reached, has too few GPUs, or a worker fails for another reason than the death of
    its process, which Ray makes good.
    """
    if items == 0:
        return
    try:
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError:
        raise UserError("engine: ray needs Ray Data: pip install 'anukul[ray]'") from None
    ours = not ray.is_initialized()
    if ours:
        _start(address, workers)
    context = ray.data.DataContext.get_current()
    before = (context.execution_options.preserve_order, context.enable_progress_bars)
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    try:
        each = _share(workers, gpus)
        rows = ray.data.range(items, override_num_blocks=items).map_batches(
            _Call,
            fn_constructor_args=(worker, given),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(workers, items, each.workers)),
            num_gpus=each.gpus,
        )
        for row in rows.iter_rows():
            fault, made = pickle.loads(row["made"])
            if fault is not None:
                raise UserError(fault)
            yield made
    except RayError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise UserError(f"engine: ray: a worker failed: {lines[-1].strip() if lines else error!r}") from None
    finally:
        context.execution_options.preserve_order, context.enable_progress_bars = before
        if ours:
            ray.shutdown()


class _Call:
    """What Ray calls in a worker process: batches of one number in, of one pickled result out."""

    def __init__(self, worker: Callable[[Any], Callable[[int], Any]], given: Any) -> None:
        self.worker, self.given = worker, given
        self.call: Callable[[int], Any] | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Return the result of one item, or the user's error that it raised."""
        (number,) = batch["id"]
        try:
            if self.call is None:
                self.call = self.worker(self.given)
            return {"made": [pickle.dumps((None, self.call(int(number))))]}
        except UserError as error:
            return {"made": [pickle.dumps((str(error), None))]}


@dataclass(frozen=True, slots=True)
class Share:
    """How many workers there can be, and GPUs for each."""

    workers: int
    gpus: int


def _share(workers: int, asked: int | None) -> Share:
    """Return what each worker is given of the GPUs that Ray sees: at least one where there is any, if None is asked."""
    import ray

    held = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
    most = max(held, default=0)  # no worker stands on two machines
    each = asked if asked is not None else min(most, max(1, sum(held) // workers))
    if each == 0:
        return Share(workers, 0)
    if each > most:
        raise UserError(
            f"engine: ray: {each} GPUs are asked for each worker, and no machine has more than {most}"
        )
    return Share(min(workers, sum(one // each for one in held)), each)


def _start(address: str | None, workers: int) -> None:
    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "include_dashboard": False,
        "logging_level": logging.ERROR,
    }
    try:
        if address is None:
            # one processor more than workers: what hands out the items needs one too, or both wait for each other
            ray.init(num_cpus=workers + 1, **quiet)
        else:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # a node that does not come up in time is a bare Exception
        first = str(error).strip().partition("\n")[0]
        raise UserError(
            f"engine: ray: cannot start or reach Ray at {address or 'this machine'}: {first}"
        ) from None
