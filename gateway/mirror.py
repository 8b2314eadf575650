"""Shadow arms: what an experiment's control has answered is asked of them as well, and their answer
is recorded and shown to nobody.

A shadow gives way to every request that somebody waits for: it is asked after the answer was given,
once, and not at all where what it names is not there or enough shadows are under way.
"""

import asyncio
import time

import orjson
from msgspec.structs import replace

from adapters.experiments.assignment import Assignment, uniform
from adapters.interactions import Outcome
from gateway.attempt import Attempt
from gateway.catalog import LiveCatalog
from gateway.errors import GatewayError
from gateway.fleet import Fleet
from gateway.planning import Planner
from gateway.protocols.requests import InferenceRequest
from gateway.record import Exchange, Recorder, new_request_id
from gateway.upstream import Upstream

_OF_STREAMS = ("stream", "stream_options")


class Mirror:
    """Asks shadow arms. Built once; `close` gives up what is under way."""

    def __init__(
        self,
        *,
        catalog: LiveCatalog,
        planner: Planner,
        fleet: Fleet,
        upstream: Upstream,
        recorder: Recorder,
    ) -> None:
        self._catalog = catalog
        self._planner = planner
        self._fleet = fleet
        self._upstream = upstream
        self._recorder = recorder
        self._running: set[asyncio.Task[None]] = set()

    def reflect(self, seen: Exchange) -> None:
        """Have shadow arms answer what the control has just answered. Returns at once."""
        assignment = seen.plan.assignment
        if assignment is None or not seen.arm_answers or not seen.request.extras.log:
            return
        for split in self._catalog.now.experiments.get(seen.plan.decision.target, ()):
            design = split.experiment
            if (design.name, design.control) != (assignment.experiment, assignment.arm):
                continue
            for arm in design.shadows:
                share = arm.shadow or 0.0
                if uniform("shadow", design.salt, arm.name, seen.receipt) < share:
                    self._begin(seen, Assignment(design.name, arm, share))

    async def close(self) -> None:
        """Give up every shadow that is under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _begin(self, seen: Exchange, shadow: Assignment) -> None:
        if len(self._running) >= self._catalog.now.settings.server.max_shadows:
            self._recorder.dropped(shadow)
            return
        # A task of its own: if it breaks, asyncio logs why, and nothing else ends with it.
        task = asyncio.create_task(self._answer(seen, shadow))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _answer(self, seen: Exchange, shadow: Assignment) -> None:
        exchange = self._exchange(seen, shadow)
        candidate, plan = exchange.candidate, exchange.plan
        body = orjson.dumps(plan.body(exchange.request, candidate))
        pool = self._fleet.pool(candidate.engine)
        lease = pool.lease(candidate.version, key=plan.affinity) if exchange.arm_answers else None
        if lease is None:
            if candidate.version is not None:
                pool.touch((candidate.version,))
            self._recorder.dropped(shadow)
            return
        try:
            await Attempt(exchange, lease, self._upstream, self._recorder.mirrored).reply(body)
        except GatewayError as exc:
            self._recorder.mirrored(exchange, Outcome.ERROR, str(exc))

    def _exchange(self, seen: Exchange, shadow: Assignment) -> Exchange:
        """The same exchange as a shadow arm has it: asked now, and in one piece."""
        request = _whole(seen.request)
        plan = self._planner.as_shadow(self._catalog.now, request, seen.plan, shadow)
        return Exchange(
            request=request,
            caller=seen.caller,
            unit=seen.unit,
            plan=plan,
            # Engines make it the answer's id, which must not be that of the answer that was seen.
            request_id=new_request_id(),
            started=time.perf_counter(),
            price=seen.price,
            dearest=seen.dearest,
            candidate=plan.candidates[0],
            shadow_of=seen.receipt,
        )


def _whole(request: InferenceRequest) -> InferenceRequest:
    """The request, not streamed."""
    if not request.stream:
        return request
    body = {name: value for name, value in request.body.items() if name not in _OF_STREAMS}
    return replace(request, stream=False, body=body)
