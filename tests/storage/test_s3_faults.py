"""What the S3 driver does when the bucket refuses, is slow, loses answers or is not there: never a bug's error, never half an object."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import msgspec
import pytest

from cargohold.config.settings import MIB, S3
from cargohold.errors import StorageFull, Unavailable
from cargohold.storage.driver import Small
from cargohold.storage.drivers.s3.driver import S3Driver
from cargohold.storage.drivers.s3.faults import Breaker, Budget, Refused
from tests.storage.contract import BLOB, LINKS, Upload, agree, fetch, forget, keys_below, noise, pieces
from tests.storage.flaky import Answer, CutBody, Flaky, LoseAnswer
from tests.storage.test_s3 import uploads_left
from tests.storage.weed import READER, free_ports

SEGMENT = 5 * MIB


@pytest.fixture
async def flaky(s3_settings: S3) -> AsyncIterator[Flaky]:
    async with Flaky.before(msgspec.structs.replace(s3_settings, segment=SEGMENT)) as flaky:
        yield flaky


@pytest.fixture
async def driver(flaky: Flaky) -> AsyncIterator[S3Driver]:
    driver = S3Driver(flaky.settings)
    yield driver
    await driver.aclose()


# Passing troubles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [Answer(503, "SlowDown"), Answer(500, "InternalError"), Answer(400, "RequestTimeout"), LoseAnswer()], ids=str
)
async def test_a_small_put_is_tried_again(driver: S3Driver, flaky: Flaky, answer: Answer | LoseAnswer) -> None:
    flaky.fault("PUT", "/data", answer, times=2)
    await driver.put([Small(BLOB, b"x")])
    assert await fetch(driver, BLOB) == b"x" and flaky.count("PUT", "/data") == 3


@pytest.mark.parametrize("answer", [Answer(503, "SlowDown"), Answer(409, "OperationAborted"), LoseAnswer()], ids=str)
@pytest.mark.parametrize("call", ["uploads", "partNumber=2"])
async def test_control_calls_are_tried_again(driver: S3Driver, flaky: Flaky, answer: Answer | LoseAnswer, call: str) -> None:
    data = noise(2 * SEGMENT + 100)
    upload = Upload(driver)
    await upload.fill(data)
    flaky.fault("POST" if call == "uploads" else "PUT", call, answer)
    await upload.assemble(links=LINKS)
    assert await fetch(driver, BLOB) == data


@pytest.mark.parametrize("answer", [LoseAnswer(), Answer(200, "InternalError"), Answer(503, "SlowDown")], ids=str)
async def test_a_complete_whose_answer_is_lost_or_bad_is_repeated(driver: S3Driver, flaky: Flaky, answer: Answer | LoseAnswer) -> None:
    data = noise(2 * SEGMENT + 100)
    upload = Upload(driver)
    await upload.fill(data)
    flaky.fault("POST", "uploadId=", answer)
    await upload.assemble(links=LINKS)
    assert await fetch(driver, BLOB) == data and await fetch(driver, LINKS[0].key) == LINKS[0].data


async def test_a_download_that_is_cut_goes_on(driver: S3Driver, flaky: Flaky) -> None:
    data = noise(3 * MIB)
    await driver.put([Small(BLOB, data)])
    flaky.fault("GET", "/data", CutBody(after=MIB))
    assert await fetch(driver, BLOB) == data and flaky.count("GET", "/data") == 2


# Lasting troubles -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"), [(503, "SlowDown"), (403, "AccessDenied"), (403, "SignatureDoesNotMatch"), (404, "NoSuchBucket"), (400, "X")]
)
async def test_what_does_not_pass_is_unavailable(driver: S3Driver, flaky: Flaky, status: int, code: str) -> None:
    upload = Upload(driver)
    await upload.fill(noise(2 * SEGMENT + 100))
    for method in ("PUT", "POST", "GET"):
        flaky.fault(method, "", Answer(status, code), times=-1)
    for work in (driver.put([LINKS[0]]), upload.assemble(), driver.read(BLOB), driver.copy(LINKS[1].key, BLOB)):
        with pytest.raises(Unavailable):
            await work
    with pytest.raises(Unavailable):
        await keys_below(driver, "docker/")


@pytest.mark.parametrize(("status", "code"), [(507, "InsufficientStorage"), (403, "QuotaExceeded"), (400, "EntityTooLarge")])
async def test_a_full_bucket_is_full(driver: S3Driver, flaky: Flaky, status: int, code: str) -> None:
    flaky.fault("PUT", "/data", Answer(status, code), times=-1)
    with pytest.raises(StorageFull):
        await driver.put([Small(BLOB, b"x")])


async def test_a_part_that_is_refused_aborts_the_upload(driver: S3Driver, flaky: Flaky, s3_settings: S3) -> None:
    flaky.fault("PUT", "partNumber=2", Answer(403, "QuotaExceeded"), times=-1)
    with pytest.raises(StorageFull):
        await driver.write(BLOB, pieces(noise(3 * SEGMENT), MIB), verify=agree, remember=forget, links=LINKS)
    upload = Upload(driver)
    await upload.fill(noise(3 * SEGMENT))
    with pytest.raises(StorageFull):
        await upload.assemble(links=LINKS)
    assert uploads_left(s3_settings) == []
    assert await driver.head(BLOB) is None and await driver.head(LINKS[0].key) is None


async def test_an_object_of_the_wrong_size_is_not_acknowledged(driver: S3Driver, flaky: Flaky) -> None:
    upload = Upload(driver)
    await upload.fill(noise(1000))
    flaky.fault("HEAD", "/data", Answer(404, ""), times=1)
    with pytest.raises(Unavailable):
        await upload.assemble(links=LINKS)
    assert await driver.head(LINKS[0].key) is None


async def test_no_server_at_all_is_unavailable_and_soon(s3_settings: S3) -> None:
    port = free_ports(1)[0]
    driver = S3Driver(msgspec.structs.replace(s3_settings, regionendpoint=f"http://127.0.0.1:{port}"))
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await driver.put([Small(BLOB, b"x")])
    with pytest.raises(Unavailable):
        await driver.head(BLOB)
    assert time.monotonic() - started < 15
    (finding,) = await driver.check()
    assert finding.fault
    await driver.aclose()


async def test_after_five_failures_new_work_is_refused_at_once(driver: S3Driver, flaky: Flaky) -> None:
    flaky.fault("PUT", "/data", Answer(503, "SlowDown"), times=-1)
    results = await asyncio.gather(*(driver.put([Small(BLOB, b"x")]) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    before = len(flaky.seen)
    for work in (driver.put([LINKS[0]]), driver.stage("u", 0, 1, b"x"), Upload(driver).assemble()):
        with pytest.raises(Unavailable) as refusal:
            await work
        assert 0 < refusal.value.retry_after <= 5
    assert len(flaky.seen) == before, "nobody was asked"


# Rights ---------------------------------------------------------------------------------------------------------------


async def test_the_self_test_passes_and_asks_for_lifecycle_rules(driver: S3Driver) -> None:
    faults = {finding.step: finding.fault for finding in await driver.check() if finding.fault}
    assert list(faults) == ["lifecycle rules clean what crashes leave"]
    assert "expire _cargohold/uploads/" in faults["lifecycle rules clean what crashes leave"]


async def test_the_self_test_names_the_missing_right(s3_settings: S3) -> None:
    driver = S3Driver(msgspec.structs.replace(s3_settings, accesskey=READER))
    faults = {finding.step: finding.fault for finding in await driver.check()}
    assert "s3:PutObject" in faults["an object can be written"] and "AccessDenied" in faults["an object can be written"]
    assert not faults["the bucket is there, and the clocks agree"]
    await driver.aclose()


async def test_a_wrong_secret_and_a_missing_bucket_are_told(s3_settings: S3) -> None:
    for change in ({"secretkey": "wrong"}, {"bucket": "nobody-made-this"}):
        driver = S3Driver(msgspec.structs.replace(s3_settings, **change))
        first = next(iter(await driver.check()))
        assert first.fault, change
        await driver.aclose()


async def test_no_secret_is_in_the_log(s3_settings: S3, capfd: pytest.CaptureFixture[str]) -> None:
    driver = S3Driver(msgspec.structs.replace(s3_settings, accesskey=READER))
    with pytest.raises(Unavailable):
        await driver.put([Small(BLOB, b"x")])
    logged = capfd.readouterr()
    text = logged.out + logged.err
    assert "PutObject" in text and BLOB in text and "AccessDenied" in text
    assert s3_settings.secretkey not in text
    await driver.aclose()


# The parts that keep it bounded -----------------------------------------------------------------------------------------


async def test_segments_that_are_too_short_go_through_this_process(driver: S3Driver, flaky: Flaky) -> None:
    data = noise(12 * MIB + 5)
    upload = Upload(driver)
    for size in (3 * MIB, 3 * MIB, 5 * MIB, MIB + 5):
        await upload.append(data[upload.size : upload.size + size])
    await upload.assemble()
    assert await fetch(driver, BLOB) == data
    assert flaky.count("GET", "_cargohold/uploads") == 2 and flaky.count("PUT", "partNumber") == 3


async def test_an_upload_of_too_many_segments_is_refused_early(driver: S3Driver) -> None:
    with pytest.raises(StorageFull, match="segment"):
        await driver.stage("u", 10_000 * SEGMENT, 1, b"x")


async def test_a_gap_between_segments_is_refused(driver: S3Driver) -> None:
    upload = Upload(driver)
    await upload.fill(noise(SEGMENT + 10))
    upload.rows = upload.rows[1:]
    with pytest.raises(Exception, match="no such upload"):
        await upload.assemble()


async def test_the_budget_makes_bodies_wait() -> None:
    budget = Budget(100)
    held = await budget.take(70)
    waiting = asyncio.create_task(budget.take(50))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await budget.give(held)
    assert await waiting == 50
    assert await budget.take(50) == 50
    huge = asyncio.create_task(budget.take(1000))
    await budget.give(100)
    assert await huge == 100, "one that is larger than all of it passes alone"


def test_the_breaker_closes_by_itself() -> None:
    clock = [0.0]
    breaker = Breaker(lambda: clock[0])
    for _ in range(5):
        breaker.admit()
        breaker.failed()
    with pytest.raises(Unavailable):
        breaker.admit()
    clock[0] = 6.0
    breaker.admit()
    breaker.worked()
    for second in (10.0, 13.0, 16.0, 19.0, 22.0):
        clock[0] = second
        breaker.failed()
    breaker.admit()


@pytest.mark.parametrize(
    ("status", "code", "passing", "missing"),
    [
        (0, "", True, False),
        (429, "", True, False),
        (503, "SlowDown", True, False),
        (400, "RequestTimeout", True, False),
        (409, "OperationAborted", True, False),
        (403, "ExpiredToken", True, False),
        (403, "AccessDenied", False, False),
        (403, "RequestTimeTooSkewed", False, False),
        (404, "NoSuchKey", False, True),
        (404, "NoSuchUpload", False, True),
        (404, "", False, True),
        (404, "NoSuchBucket", False, False),
        (507, "", False, False),
        (500, "QuotaExceeded", False, False),
    ],
)
def test_kinds_of_refusals(status: int, code: str, passing: bool, missing: bool) -> None:
    refused = Refused(status, code, "text")
    assert (refused.passing, refused.missing) == (passing, missing)
