"""Addressed randomness: the address decides, nothing else does."""

from simplerl.core.seeds import derive, generator, torch_seed


def test_every_part_of_the_address_counts() -> None:
    keys = [
        derive(0, "train", 1, "p", 2),
        derive(1, "train", 1, "p", 2),
        derive(0, "evaluate", 1, "p", 2),
        derive(0, "train", 2, "p", 2),
        derive(0, "train", 1, "q", 2),
        derive(0, "train", 1, "p", 3),
        derive(0, "train", 1, "p"),
        derive(0, "train", "1", "p", 2),  # the number 1 and the text 1
        derive(0, "train", 11, "p", 2),
        derive(0, "train", 1, "p2"),
    ]
    assert len(set(keys)) == len(keys)
    assert all(0 <= key < 2**128 for key in keys)


def test_stable_across_versions() -> None:
    """A run of today must be resumable tomorrow: the derivation is part of the format."""
    assert derive(0, "train", 1, "p", 2) == 168100598773872473574217242022463764950
    assert generator(0, "order", 3).integers(0, 1000, 4).tolist() == [361, 758, 64, 89]
    assert torch_seed(7, "cub-init") == 4437464512318052507


def test_drawing_from_one_address_does_not_move_another() -> None:
    first = generator(0, "a", 1)
    wanted = generator(0, "a", 2).random(3).tolist()
    first.random(1000)
    assert generator(0, "a", 2).random(3).tolist() == wanted
    assert generator(0, "a", 1).random(3).tolist() != wanted


def test_odd_names_are_addresses_too() -> None:
    assert derive(0, "train", "\ud800") != derive(0, "train", "\ud801")
