"""Content of other protocols as parts."""

import pytest

from chatd.adapters.content import file_from_data_url, joined, text_part
from chatd.api.errors.problems import HttpProblem

PNG = "iVBORw0KGgo="


@pytest.mark.parametrize(
    ("url", "media_type", "data"),
    [
        (f"data:image/png;base64,{PNG}", "image/png", b"\x89PNG\r\n\x1a\n"),
        (f"DATA:image/jpeg;Base64,{PNG}", "image/png", b"\x89PNG\r\n\x1a\n"),
        ("data:text/csv;charset=utf-8;base64,YSxi", "text/csv;charset=utf-8", b"a,b"),
        ("data:text/plain,a%20b,c", "text/plain", b"a b,c"),
        ("data:,a", "text/plain", b"a"),
    ],
)
def test_a_data_url_is_a_file(url: str, media_type: str, data: bytes) -> None:
    content = file_from_data_url(url, where="body.image", name="a.bin")
    assert [(file.media_type, file.data, file.name) for file in content.files] == [
        (media_type, data, "a.bin")
    ]
    assert list(content.parts) == [content.files[0].reference()]


@pytest.mark.parametrize(
    "url",
    [
        "https://e.example/a.png",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,???",
        f"data:{'x' * 256},a",
        "",
    ],
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(HttpProblem) as refused:
        file_from_data_url(url, where="body.image")
    assert refused.value.errors[0].where == "body.image"


def test_parts_and_files_are_joined_in_their_order() -> None:
    file = file_from_data_url("data:,a", where="")
    content = joined([text_part("a\0b"), file, text_part("c")])
    assert list(content.parts) == [
        {"type": "text", "text": "a\N{REPLACEMENT CHARACTER}b"},
        *file.parts,
        {"type": "text", "text": "c"},
    ]
    assert content.files == file.files
