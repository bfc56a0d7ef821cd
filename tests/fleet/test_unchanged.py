"""What lies at the broker as the keeper laid it down is not sent again; whatever else lies there is."""

from __future__ import annotations

from datetime import datetime, timezone

from device.fleet.letters import digest_of
from tests.support.doors.house import face
from tests.support.doors.letters import deliver, letters_of, names
from tests.support.machines.broker import needs_mosquitto
from tests.support.waiting import wait_until


def there(letters) -> dict[str, str]:
    """Return what lies at a broker that has these letters."""
    return {each.levels[1]: digest_of(each.body) for each in letters if each.levels[0] == "gallery"}


def sent(pair, lies) -> list[str]:
    """Return whose records the keeper sends when so much lies at the broker."""
    letters = pair.keeper.letters("front", {}, datetime.now(timezone.utc), lies=lies)
    ids = {pair.keeper._id("front", pair.opened.profile(name).alias): name for name in ("alice", "bob")}
    deliver(pair, [each for each in letters if each.body])
    return [ids[each.levels[1]] for each in letters if each.levels[0] == "gallery" and each.body]


def test_a_push_without_a_change_sends_the_manifest_alone(pair) -> None:
    first = letters_of(pair, "alice", "bob")
    deliver(pair, first)
    assert sent(pair, there(first)) == []
    assert pair.member.report().in_sync
    assert pair.member.report().sequence == 2


def test_what_changed_is_sent_and_nothing_else(pair) -> None:
    first = letters_of(pair, "alice", "bob")
    deliver(pair, first)
    pair.opened.enroll("bob", face(7), replace=True)
    assert sent(pair, there(first)) == ["bob"]
    assert (pair.gallery.templates("bob") == face(7)).all()


def test_what_the_broker_lost_or_has_as_it_was_yesterday_is_sent_again(pair) -> None:
    first = letters_of(pair, "alice", "bob")
    second = letters_of(pair, "alice", "bob")  # sealed anew
    [alice, bob] = there(second)
    assert sent(pair, {}) == ["alice", "bob"]
    letters = letters_of(pair, "alice", "bob")
    old = {alice: there(first)[alice], bob: there(letters)[bob]}
    assert sent(pair, old) == ["alice"]


def test_with_a_new_key_everything_is_sent_again(pair) -> None:
    first = letters_of(pair, "alice", "bob")
    deliver(pair, first)
    pair.keeper.rotate()
    assert sent(pair, there(first)) == ["alice", "bob"]
    assert names(pair) == ["alice", "bob"]


def test_a_door_that_was_added_anew_gets_everything_for_its_new_key(pair) -> None:
    first = letters_of(pair, "alice", "bob")
    pair.keeper.revoke_door("front")
    pair.keeper.add_door("front", datetime.now(timezone.utc))
    for name in ("alice", "bob"):
        pair.keeper.assign(name, ["front"], gives=True)
    letters = pair.keeper.letters("front", {}, datetime.now(timezone.utc), lies=there(first))
    assert all(each.body for each in letters)


@needs_mosquitto
def test_a_daily_push_writes_one_message_a_door_and_mends_what_was_taken_away(make_house) -> None:
    house = make_house("front")
    for number, name in enumerate(("alice", "bob")):
        house.keeper.enroll(name, number)
        house.keeper.run("give", name, "front")
    listener = house.mosquitto.client("front").listen(
        "face-unlock/front/gallery/+", "face-unlock/front/manifest"
    )
    assert house.push() == 0
    wait_until(lambda: len(listener.retained) == 3, 60)
    listener.heard.clear()
    assert house.push() == 0
    wait_until(lambda: listener.heard, 60)
    assert [topic for topic, _ in listener.heard] == ["face-unlock/front/manifest"]
    [first, *_] = [topic for topic in listener.retained if "/gallery/" in topic]
    listener.say(first, b"", retain=True)
    listener.heard.clear()
    assert house.push() == 0
    wait_until(lambda: len(listener.heard) >= 2, 60)
    assert {topic for topic, _ in listener.heard} == {first, "face-unlock/front/manifest"}
    listener.close()
