from collections.abc import Callable
from pathlib import Path

from training.data.layouts.folder import open_folder
from training.data.layouts.listing import listing_of_pairs, listing_of_people
from training.data.sources import PictureItem

POINTS = [(1.0, 2.0)] * 5


def test_who_has_photo_and_sketch_is_listed_and_the_others_are_told(unpacked: Callable[..., Path]) -> None:
    folder = open_folder(unpacked("1.png"))
    photos = {"b": "pb.png", "a": "pa.png", "c": "pc.png"}
    sketches = {"a": "sa.png", "b": "sb.png", "d": "sd.png"}
    listing = listing_of_pairs(folder, photos, sketches, lambda place: POINTS if place == "sb.png" else None)
    assert listing.items == [
        PictureItem("pa.png", "pa.png", "a", "photo"),
        PictureItem("pb.png", "pb.png", "b", "photo"),
        PictureItem("sa.png", "sa.png", "a", "sketch"),
        PictureItem("sb.png", "sb.png", "b", "sketch", {}, POINTS),
    ]
    assert listing.role == {"pa.png": "gallery", "pb.png": "gallery", "sa.png": "probe", "sb.png": "probe"}
    assert folder.left_out == {"sketches without a photo": ["sd.png"], "photos without a sketch": ["pc.png"]}


def test_who_is_beyond_the_protocol_is_listed_without_a_role(unpacked: Callable[..., Path]) -> None:
    folder = open_folder(unpacked("1.png"))
    photos, sketches = {"a": "pa.png", "b": "pb.png"}, {"a": "sa.png", "b": "sb.png"}
    listing = listing_of_pairs(
        folder, photos, sketches, lambda place: None, part=str.upper, in_protocol=lambda subject: subject == "b"
    )
    assert [item.labels for item in listing.items] == [{"part": "A"}, {"part": "B"}] * 2
    assert listing.role == {"pb.png": "gallery", "sb.png": "probe"}


def test_of_people_all_photos_and_all_caricatures_are_listed_in_order() -> None:
    photos, caricatures = {"b.png": "Bob", "a.png": "Ann"}, {"d.png": "Bob", "c.png": "Cy"}
    listing = listing_of_people(photos, caricatures, lambda place: POINTS if place == "d.png" else None)
    assert listing.items == [
        PictureItem("a.png", "a.png", "Ann", "photo"),
        PictureItem("b.png", "b.png", "Bob", "photo"),
        PictureItem("c.png", "c.png", "Cy", "caricature"),
        PictureItem("d.png", "d.png", "Bob", "caricature", {}, POINTS),
    ]
    assert list(listing.role.items()) == [
        ("a.png", "gallery"),
        ("b.png", "gallery"),
        ("c.png", "probe"),
        ("d.png", "probe"),
    ]
    assert listing.lists == {}
