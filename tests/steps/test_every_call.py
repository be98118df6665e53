"""A few of all disturbances of all calls, others with each run; `make every-call` has all of them."""

from __future__ import annotations

import os
import random
import re

import pytest

from tests.steps.disturbing import Way
from tests.steps.every_call import FAULTS, JOURNEYS, Call, can_happen, lab

# The same for all workers of a run.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or os.urandom(4).hex()
DRAWN = random.Random(RUN).choice([*JOURNEYS])
EACH, EACH_LONG = 3, 10


@pytest.mark.parametrize(
    "journey", [pytest.param(name, marks=() if name == DRAWN else pytest.mark.long) for name in JOURNEYS]
)
def test_disturbed_at_a_call_the_next_run_ends_where_an_undisturbed_one_ends(journey: str):
    number = EACH if journey == DRAWN else EACH_LONG
    with lab(JOURNEYS[journey]) as there:
        count = there.count()
        for case in random.Random(f"{RUN} {journey}").sample(there.cases(), number):
            there.try_one(*case, count)
        print(f"{journey}: {count}")
        assert count.failures == []
        # What would be told where something did not converge.
        there._end = "another world"
        there.try_one(there.calls[-1], "killed before", count)
        there.try_one(Call("GET /nowhere", Way.API, 0), "503", count)
    told = "\n".join(count.failures)
    assert re.search(r"killed before: the world is another", told)
    assert re.search(r"nowhere: 503: it was not made the second time", told)
    assert (count.disturbances, count.converged) == (number + 2, number)


@pytest.mark.long
def test_a_service_agent_that_could_not_be_made_at_first_is_asked_for_again_in_the_same_run():
    with lab(JOURNEYS["03"]) as there:
        (call,) = (one for one in there.calls if one.name.endswith(":generateServiceIdentity"))
        count = there.count()
        there.try_one(call, "operation ends in error 13, nothing done", count)
        there.try_one(call, "slow operation", count)
    assert (count.failures, count.at_once) == ([], 2)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("POST /v1/projects/p/services/a.googleapis.com:enable", 5),
        ("POST /v1beta1/projects/p/services/a.googleapis.com:generateServiceIdentity", 5),
        ("POST /v1/projects/p/locations/l/repositories", 5),
        ("DELETE /v1/projects/p/locations/l/repositories/r", 5),
        ("DELETE /v1/projects/p/secrets/s", 0),
        ("PATCH /v1/projects/p/locations/l/repositories/r", 0),
    ],
)
def test_what_begins_an_operation_is_slow_or_ends_in_an_error_too(name: str, number: int):
    faults = [fault for fault in FAULTS.values() if fault.of_operations]
    assert sum(can_happen(Call(name, Way.API, 0), fault) for fault in faults) == number
