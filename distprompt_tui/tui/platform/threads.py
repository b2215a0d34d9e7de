"""Blocking work in threads that do not delay quitting."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function in a daemon thread; return or raise its result.

    `asyncio.to_thread` is not used because the event loop and the interpreter wait for its threads on exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, failure = None, None
        try:
            result = function(*args, **kwargs)
        except Exception as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the app has ended
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=work, daemon=True, name=getattr(function, "__name__", "work")).start()
    return await future
