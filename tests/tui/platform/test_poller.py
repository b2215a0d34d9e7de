"""One read at a time; `again` reads once more; after a cancelled read, the next one can start."""

from __future__ import annotations

import asyncio

import pytest

from distprompt_tui.tui.platform.poller import Poller


class Readings:
    """Numbers the reads; each ends when released."""

    def __init__(self) -> None:
        self.count = 0
        self.shown: list[int] = []
        self.let = asyncio.Event()
        self.poller = Poller(self._read, self.shown.append)

    async def _read(self) -> int:
        self.count += 1
        await self.let.wait()
        return self.count


async def started(readings: Readings) -> asyncio.Task[None]:
    """Return a poll whose read has started."""
    polling = asyncio.create_task(readings.poller.poll())
    await asyncio.sleep(0)
    assert readings.count == 1
    return polling


@pytest.mark.parametrize(("again", "shown"), [(False, [1]), (True, [1, 2])])
async def test_a_poll_during_a_reading_starts_no_second_one(again: bool, shown: list[int]) -> None:
    readings = Readings()
    polling = await started(readings)
    for _ in range(3):
        await readings.poller.poll(again=again)
    assert readings.count == 1
    readings.let.set()
    await polling
    assert readings.shown == shown
    await readings.poller.poll()
    assert readings.shown == [*shown, len(shown) + 1]


async def test_a_cancelled_reading_lets_the_next_one_begin() -> None:
    readings = Readings()
    polling = await started(readings)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling
    readings.let.set()
    await readings.poller.poll()
    assert readings.shown == [2]
