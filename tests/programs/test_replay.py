"""The whole decision on frames with real networks: a head that obeys is let in, and nobody else is."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

from device.build import build_liveness
from device.config import Config, DetectorConfig
from device.decide.challenge import LEAST_MISFIT
from device.decide.parallax import measure
from device.errors import ModelError
from device.types import Decision, Frame, Image, Reason
from scripts import replay as module
from scripts.replay import Stages, exact_interval, perform, replay, run_attacks, stages
from scripts.stage.actors import Person, people
from scripts.stage.head import Actor, Look, load_actor, wall


@pytest.fixture(scope="module")
def actor() -> Actor:
    try:
        return load_actor(module.PHOTOGRAPH)
    except ModelError as fault:
        pytest.skip(str(fault))


@pytest.fixture(scope="module")
def made(actor: Actor) -> Iterator[Stages]:
    with stages(actor, Config(detector=DetectorConfig(kind="litert"))) as loaded:
        yield loaded


def visit(made: Stages, person: Person, seed: int, seconds: float = 16.0) -> list[Decision]:
    return perform(person, [made.door("always", seed)], seconds)[0]


def test_a_head_that_obeys_is_let_in(made: Stages, actor: Actor) -> None:
    decisions = visit(made, people(actor, 0)["obeys"], 0)
    assert decisions[-1].granted
    asked = [each.challenge for each in decisions if each.challenge not in (None, "back")]
    assert len(dict.fromkeys(asked)) == made.config.liveness.moves
    assert len({each.track_id for each in decisions}) == 1


@pytest.mark.parametrize("who", ["answers late", "makes another move"])
def test_a_head_that_does_not_obey_is_not(made: Stages, actor: Actor, who: str) -> None:
    decisions = visit(made, people(actor, 0)[who], 0, seconds=8.0)
    assert not any(each.granted for each in decisions)
    assert Reason.CHALLENGE_FAILED in {each.reason for each in decisions}


def test_an_answer_on_another_track_is_none(made: Stages, actor: Actor) -> None:
    """Whoever is asked steps away, comes back after the track has ended, and makes the move in time."""
    person, asked_at = Person(actor, random.Random(0), reaction_s=1.0), {"s": -9.0, "move": None}

    def act(at_s: float, asked: str | None) -> Image:
        if asked is not None and asked != asked_at["move"]:
            asked_at.update(s=at_s, move=asked)
        frame = person(at_s, asked or asked_at["move"])
        return wall() if at_s - asked_at["s"] < 0.7 else frame

    decisions = perform(act, [made.door("always", 0)], 8.0)[0]
    assert not any(each.granted for each in decisions)
    assert len({each.track_id for each in decisions} - {None}) > 1


def test_a_live_network_that_is_sure_needs_no_challenge(made: Stages, actor: Actor) -> None:
    class Sure(module.NeverSure):
        def score(self, image: Image, box: object) -> float:
            return 0.95

    person = people(actor, 0)["obeys"]
    decisions = perform(person, [made.door("challenge", 0, Sure())], 3.0)[0]
    assert decisions[-1].granted
    assert not any(each.challenge for each in decisions)


def test_a_living_person_at_a_proven_door_opens_within_a_second_and_a_half(
    made: Stages, actor: Actor
) -> None:
    """With the shipped liveness networks, in mode `challenge`, which a door that passed its self-test is in."""
    scorer, waits_s = build_liveness(made.config), []
    for seed in range(5):
        decisions = perform(Person(actor, random.Random(seed)), [made.door("challenge", seed, scorer)], 4.0)[
            0
        ]
        seen_s = next(each.captured_at_s for each in decisions if each.detection is not None)
        waits_s += [each.captured_at_s - seen_s for each in decisions if each.granted][:1]
    assert len(waits_s) == 5
    assert sorted(waits_s)[2] <= 1.5


def test_held_pictures_open_nothing(made: Stages, actor: Actor, capsys: pytest.CaptureFixture[str]) -> None:
    """A short version of `scripts/replay.py --attacks 1000`."""
    assert run_attacks(made, actor, 20, 10_000, 3.5) == 0
    said = capsys.readouterr().out
    assert "mode challenge: 0 of 20 held pictures opened the door, 95 % interval [0.00, 16.84] %" in said
    assert "mode always: 0 of 20" in said
    came = int(said.splitlines()[-1].split()[0])
    assert came >= 10  # else quality, not liveness, kept them out


def test_a_replay_is_the_same_each_time(made: Stages, actor: Actor) -> None:
    frames = [Frame(actor.picture(Look(yaw_deg=3.0 * i, size=1.2)), i / 8, i) for i in range(12)]
    first, second = ([each.reason for each in replay(frames, made.door("challenge", 5))] for _ in range(2))
    assert first == second
    assert Reason.CHALLENGE in first


def test_mesh_and_parallax_tell_a_head_from_a_picture(made: Stages, actor: Actor) -> None:
    def see(frame: Image):
        return made.networks.align(frame, made.networks.detect(frame)[0])

    for yaw in (18, -18):
        before, head = see(actor.head(Look())), see(actor.head(Look(yaw_deg=yaw)))
        picture = see(actor.picture(Look(yaw_deg=yaw)))
        assert (head.pose.yaw_deg - before.pose.yaw_deg) / yaw > 0.6
        assert measure(before.mesh, head.mesh).misfit > 1.5 * LEAST_MISFIT
        assert abs(picture.pose.yaw_deg - before.pose.yaw_deg) < 6
        assert measure(before.mesh, picture.mesh).misfit < 0.6 * LEAST_MISFIT


def test_lids_close(made: Stages, actor: Actor) -> None:
    open_eyes, shut = (
        made.networks.align(frame, made.networks.detect(frame)[0]).eye_openness
        for frame in (actor.head(Look()), actor.head(Look(lids=1.0)))
    )
    assert max(shut) < 0.8 * min(open_eyes)


def test_a_head_moves_and_what_is_behind_it_does_not(actor: Actor) -> None:
    still, turned = actor.head(Look(blur_px=0)), actor.head(Look(yaw_deg=25, blur_px=0))
    moved = np.abs(still.astype(int) - turned).max(axis=2) > 8
    assert moved[150:300, 260:380].mean() > 0.3
    assert moved[:, :60].mean() < 0.01


@pytest.mark.parametrize(
    ("hits", "count", "interval"),
    [(0, 20, (0, 0.16843)), (0, 1000, (0, 0.003682)), (3, 50, (0.01255, 0.16548)), (5, 5, (0.47818, 1))],
)
def test_intervals_are_clopper_and_pearsons(hits: int, count: int, interval: tuple[float, float]) -> None:
    assert exact_interval(hits, count) == pytest.approx(interval, abs=2e-5)


def test_bad_arguments_are_one_line(capsys: pytest.CaptureFixture[str], actor: Actor) -> None:
    for arguments in (["--attacks", "-1"], ["--photograph", "missing.jpg"], ["missing.mp4"]):
        assert module.main(arguments) in (2, 6)
        assert len([line for line in capsys.readouterr().err.splitlines() if line.startswith("replay:")]) == 1
