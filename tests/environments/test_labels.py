from environments.labels import EnvironmentRef, labels_for, ref_from

REF = EnvironmentRef(
    name="itd-0a1b2c3d-1", instance="lab", owner="run:17/shard:1", fence=3, expires=1_800_000_000
)


def test_labels_say_everything_that_is_needed_to_find_the_environment_again() -> None:
    assert ref_from(labels_for(REF)) == REF
    assert ref_from(labels_for(REF, "db") | {"maintainer": "someone"}) == REF


def test_labels_are_spelled_as_documented() -> None:
    assert labels_for(REF, "db") == {
        "itdash.instance": "lab",
        "itdash.environment": "itd-0a1b2c3d-1",
        "itdash.owner": "run:17/shard:1",
        "itdash.fence": "3",
        "itdash.expires": "1800000000",
        "itdash.service": "db",
    }


def test_only_service_objects_carry_a_service_label() -> None:
    assert "itdash.service" not in labels_for(REF)


def test_foreign_or_broken_labels_name_no_environment() -> None:
    assert ref_from({}) is None
    assert ref_from({"itdash.environment": "itd-0a1b2c3d-1"}) is None
    assert ref_from(labels_for(REF) | {"itdash.fence": "many"}) is None
