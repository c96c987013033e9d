"""The n-th open, read, write, fsync, rename, unlink or connect of a real gateway fails, in each of its phases.

What must hold: it says what is wrong and goes on, or ends with an exit code; it never hangs; it serves again when the
fault is over; no delivered answer lacks its record, unless it is counted as dropped; none costs a key's budget nothing;
no file is left over.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from router.gateway.config.keys import load_keys
from tests.faults.io.cases import DRAIN, KEYS, RELOAD, REQUEST, START, Case, cases, sample
from tests.faults.io.service import Service, fingerprint, prepared, route, serving
from tests.faults.io.shim import Operation
from tests.faults.upstream import Upstream
from tests.gateway.servers import wait_for
from tests.warm_start import Warm

pytestmark = pytest.mark.slow
# Longer than the pause of the journal's thread, which moves the record of a request.
_MOVE_S = 0.3
# Longer than the pause of the reloader between two looks at its files.
_LOOK_S = 1.2
FULL_LOG = Case((Operation.LOG,), 1, errno.ENOSPC, -1)
SHORT_ENTRY = Case((Operation.WRITE,), 1, errno.ENOSPC, 2, short=True)
# The file that changed cannot be read at all for a while.
TWICE = Case((Operation.OPEN,), 5, errno.EMFILE, -1)
# A permission that is missing is a fault of the file: its change is noticed.
RELOADS = [case for case in cases(RELOAD) if case.error != errno.EACCES]
PARTS = range(8)
STOPPED_BY_SIGTERM = (-signal.SIGTERM, 0)


def check_the_end(service: Service, case: object) -> None:
    """Stop it, and check what it leaves."""
    assert service.stop() in STOPPED_BY_SIGTERM, case
    assert service.lost_records() == set(), case
    assert service.uncounted_usd() <= 0, case
    assert service.left_over() == [], case
    assert "Traceback" not in service.text(), case


def serve_through(upstream: Upstream, warm: Warm, folder: Path, library: Path, chosen: Iterable[Case]) -> None:
    """One gateway, in which one case after another happens during a request."""
    start, shim = prepared(folder, upstream, library)
    with serving(warm(start)) as service:
        for number, case in enumerate(chosen):
            case.arm(shim)
            response = service.ask(stream=number % 2 == 1)
            # A broken stream has status 200 and no end; anything else is an answer or an error that says so.
            assert response.status == 200 or b'"message"' in response.body, case
            assert response.status in (200, 502, 503), case
            wait_for(functools.partial(case.is_over, shim), _MOVE_S)
            shim.disarm()
            assert service.is_healthy(), case
            service.excuse_dropped()
            assert wait_for(lambda: service.ask().status == 200, 10), case
        service.excuse_dropped()
        check_the_end(service, "all cases")


def test_failures_during_requests_are_answered_and_pass(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path
) -> None:
    serve_through(upstream, warm_under_shim, tmp_path / "gateway", library, sample(cases(REQUEST), 40))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_every_failure_during_requests(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path, part: int
) -> None:
    serve_through(upstream, warm_under_shim, tmp_path / "gateway", library, list(cases(REQUEST))[part :: len(PARTS)])


def start_with(upstream: Upstream, warm: Warm, folder: Path, library: Path, case: Case) -> None:
    """A gateway in whose start the case happens serves, or ends at once with one line that says why."""
    start, shim = prepared(folder, upstream, library)
    case.arm(shim)
    service = Service(start)
    try:
        serves = service.wait()
        shim.disarm()
        if not serves:
            assert (service.process.poll() or 0) > 0
            assert "Traceback" not in service.text()
            # A log that cannot be written says nothing.
            assert "route: " in service.text() or case.operations[0].name == "LOG"
            service.kill()
            service = Service(warm(start))
            assert service.wait(), service.text()
        assert service.is_healthy(), service.text()
        assert wait_for(lambda: service.ask().status == 200, 10)
        check_the_end(service, case)
    finally:
        service.kill()


@pytest.mark.parametrize("case", [FULL_LOG, *sample(cases(START), 3)], ids=str)
def test_a_failure_during_the_start_is_explained(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path, case: Case
) -> None:
    start_with(upstream, warm_under_shim, tmp_path / "gateway", library, case)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_every_failure_during_the_start(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path, part: int
) -> None:
    for case in list(cases(START))[part :: len(PARTS)]:
        start_with(upstream, warm_under_shim, tmp_path / str(case), library, case)


def reload_through(upstream: Upstream, warm: Warm, folder: Path, library: Path, chosen: Iterable[Case]) -> None:
    """A change that could not be read at first is applied when the fault is over, without another change."""
    start, shim = prepared(folder, upstream, library)
    with serving(warm(start)) as service:
        for number, case in enumerate(chosen):
            case.arm(shim)
            (folder / "gateway.yaml").write_text(json.dumps({"max_depth": 100 + number}), encoding="utf-8")
            if number % 2:
                os.kill(service.process.pid, signal.SIGHUP)
            # Every look at the files of this time fails, not only the first.
            time.sleep(_LOOK_S)
            assert service.is_healthy(), case
            shim.disarm()
            assert wait_for(lambda wanted=101 + number: depth_is_at_most(service, wanted), 10), case
            assert service.client.get("/readyz").json()["refused_edit"] is None, case
        assert service.ask().status == 200
        check_the_end(service, "all cases")


def depth_is_at_most(service: Service, limit: int) -> bool:
    """Whether JSON of more than `limit` nested lists is rejected for that reason, and `limit - 1` are not."""

    def is_too_deep(depth: int) -> bool:
        body = b'{"model": "ok", "messages": %b%b}' % (b"[" * (depth - 1), b"]" * (depth - 1))
        answer = service.client.post("/v1/chat/completions", content=body)
        return "nest" in answer.text or "deep" in answer.text

    return is_too_deep(limit) and not is_too_deep(limit - 1)


def test_a_change_that_could_not_be_read_is_applied_later(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path
) -> None:
    lasting = [case for case in RELOADS if case.times == -1]
    reload_through(upstream, warm_under_shim, tmp_path / "gateway", library, [*sample(lasting, 2), TWICE])


@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_every_failure_during_a_reload(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path
) -> None:
    reload_through(upstream, warm_under_shim, tmp_path / "gateway", library, RELOADS)


def edit_keys(upstream: Upstream, folder: Path, library: Path, chosen: Iterable[Case]) -> None:
    """Adding or revoking a key happens and says so, or leaves the file as it was and says why."""
    start, shim = prepared(folder, upstream, library)
    file = folder / "keys.yaml"
    for number, case in enumerate(chosen):
        before, listed = fingerprint(file), folder_names(folder)
        case.arm(shim)
        done = route(start, "keys", "add", f"key-{number}", "--file", str(file))
        shim.disarm()
        known = [key.id for key in load_keys(file)]
        assert folder_names(folder) == listed, case
        assert "Traceback" not in done.stderr, case
        if done.returncode == 0:
            assert f"key-{number}" in known, case
        elif fingerprint(file) != before:
            # It was added, and then its key could not be printed.
            assert case.operations[0].name == "LOG", case
        else:
            assert done.stderr.startswith("route: "), case


def folder_names(folder: Path) -> set[str]:
    """What is in the folder."""
    return {file.name for file in folder.iterdir()}


def test_an_edit_of_the_keys_happens_or_does_not(upstream: Upstream, tmp_path: Path, library: Path) -> None:
    edit_keys(upstream, tmp_path / "gateway", library, [SHORT_ENTRY, *sample(cases(KEYS), 4)])


@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_every_failure_during_an_edit_of_the_keys(upstream: Upstream, tmp_path: Path, library: Path) -> None:
    edit_keys(upstream, tmp_path / "gateway", library, cases(KEYS))


def stop_with(upstream: Upstream, warm: Warm, folder: Path, library: Path, case: Case) -> None:
    """A gateway that cannot write at its end leaves what the next start needs to complete its records."""
    start, shim = prepared(folder, upstream, library)
    with serving(warm(start)) as service:
        for number in range(3):
            assert service.ask(stream=number == 1).status == 200
        case.arm(shim)
        assert service.stop() in STOPPED_BY_SIGTERM
        shim.disarm()
        assert "Traceback" not in service.text()
        assert service.lost_records() == set()
        assert service.uncounted_usd() <= 0
    with serving(warm(start)) as after:
        assert after.ask().status == 200
        check_the_end(after, case)


@pytest.mark.parametrize("case", sample(cases(DRAIN), 2), ids=str)
def test_a_failure_during_the_end_loses_no_record(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path, case: Case
) -> None:
    stop_with(upstream, warm_under_shim, tmp_path / "gateway", library, case)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.sweep
@pytest.mark.timeout(0)
def test_every_failure_during_the_end(
    upstream: Upstream, warm_under_shim: Warm, tmp_path: Path, library: Path, part: int
) -> None:
    for case in list(cases(DRAIN))[part :: len(PARTS)]:
        stop_with(upstream, warm_under_shim, tmp_path / str(case), library, case)
