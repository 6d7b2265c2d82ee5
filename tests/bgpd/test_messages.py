"""What came of steps crosses the socket without the steps."""

from __future__ import annotations

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from announcer.model.bgp import Route
from announcer.model.observed import Outcome, OutcomeState
from announcer.model.steps import Announce, AnyStep
from bgpd import messages
from bgpd.messages import Apply, Results

results = st.builds(
    messages.Result, st.sampled_from(OutcomeState), st.sampled_from(["", "it did not work"]), st.booleans()
)


def step(number: int) -> AnyStep:
    return Announce(lane="x", peer="r1", route=Route(nlri=IPv4Network((0x0A000000 + 256 * number, 24))))


@given(st.lists(results, max_size=5))
def test_outcomes_are_put_together_with_the_steps_that_were_asked_for(found: list[messages.Result]) -> None:
    steps = [step(number) for number in range(len(found))]
    outcomes = [result.of_step(step) for result, step in zip(found, steps, strict=True)]
    reply = messages.parse_reply(messages.reply_line(Results.of(1, outcomes)))
    assert isinstance(reply, Results)
    assert reply.outcomes(steps) == outcomes


def test_what_was_done_costs_nothing_to_say() -> None:
    steps = [step(number) for number in range(1000)]
    outcomes = [Outcome(step=one, state=OutcomeState.DONE) for one in steps]
    assert messages.reply_line(Results.of(7, outcomes)) == messages.reply_line(Results(7, {}))


def test_an_agent_of_an_earlier_release_is_answered_as_ever() -> None:
    request = messages.parse_request(b'{"request":{"type":"apply","id":1,"steps":[]}}')
    assert isinstance(request, Apply)
    assert not request.brief
