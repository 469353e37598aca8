"""Tasks beside a block end with it, whatever they do."""

import asyncio

import pytest

from muster.kit.tasks import running


async def _deaf(times: int) -> None:
    """Swallow some cancellations, as `asyncio.wait_for` sometimes does."""
    for _ in range(times):
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            continue
    await asyncio.sleep(600)


async def test_a_job_ends_with_its_block() -> None:
    """It has ended, not only been told to."""
    async with running(asyncio.sleep(600), "sleeping") as task:
        pass
    assert task.cancelled()


async def test_a_job_that_overhears_its_end_is_told_again() -> None:
    """A cancellation that got lost does not keep the process from ending."""
    async with asyncio.timeout(20), running(_deaf(1), "deaf") as task:
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_a_job_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The block goes on, and its end is not disturbed."""

    async def fail() -> None:
        raise ValueError("broken")

    async with running(fail(), "the job") as task:
        await asyncio.wait([task], timeout=10)
    assert "the job ended" in caplog.text
    assert "broken" in caplog.text
