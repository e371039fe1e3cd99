"""Messages as the command line prints them."""

from chatd.cli.formatting import plain_text


def test_file_is_named_with_its_type_and_size() -> None:
    file = {"type": "file", "media_type": "image/png", "size": 5, "file_id": "f", "url": "/f"}
    assert plain_text([{**file, "name": "sky.png"}]) == "[sky.png, image/png, 5 bytes]"  # type: ignore[list-item]
    assert plain_text([{**file, "name": None}]) == "[a file, image/png, 5 bytes]"  # type: ignore[list-item]
