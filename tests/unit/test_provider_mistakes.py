"""Keys, headers and addresses of providers that HTTP cannot carry: one line that names them."""

from pathlib import Path

import pytest
from support.config_files import (
    MODEL,
    SECRET,
    VALID,
    Captured,
    forget_settings_of_this_machine,
    mistake,
    write_config,
)

from chatd.settings import load

KEYS_AS_FILES = {
    "inner line end": (f"{SECRET}\nx\n".encode(), "has a line end inside"),
    "inner carriage return": (f"{SECRET}\rx\n".encode(), "has a line end inside"),
    "two line ends": (f"{SECRET}\n\nx".encode(), "has a line end inside"),
    "control character": (f"{SECRET}\x07".encode(), "has a control character"),
    "NUL": (f"{SECRET}\0".encode(), "has a control character"),
    "DEL": (f"{SECRET}\x7f".encode(), "has a control character"),
    "other letters": (f"{SECRET}é".encode(), "has a character that is not ASCII"),
    "quotes of a text processor": (f"“{SECRET}”".encode(), "has a character that is not ASCII"),
    "BOM inside": (f"{SECRET}\ufeffx".encode(), "has a character that is not ASCII"),
    "blank at the end": (f"{SECRET} \n".encode(), "begins or ends with a blank"),
    "blank at the begin": (f"\t{SECRET}\n".encode(), "begins or ends with a blank"),
    "Latin-1": (f"{SECRET}é".encode("latin-1"), "not UTF-8 text"),
    "UTF-16": (SECRET.encode("utf-16"), "not UTF-8 text"),
    "UTF-16 without BOM": (SECRET.encode("utf-16-le"), "has a control character"),
    "only a BOM": (b"\xef\xbb\xbf\r\n", "is empty"),
    "only line ends": (b"\n\n", "is empty"),
    "too long": (SECRET.encode() * 2**16, "larger than 65536 bytes"),
}


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_settings_of_this_machine(monkeypatch)


@pytest.mark.parametrize(("content", "reason"), KEYS_AS_FILES.values(), ids=[*KEYS_AS_FILES])
def test_secret_that_fits_no_header_is_a_mistake(
    content: bytes, reason: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "providers.p.api_key").write_bytes(content)
    problem = mistake(write_config(tmp_path, VALID % 'api_key_file = "key"'), capsys)
    assert problem.startswith("providers.p.api_key_file: ")
    assert reason in problem
    config = write_config(tmp_path, MODEL)
    monkeypatch.setenv("CHATD_PROVIDERS__P__API_KEY_FILE", str(tmp_path / "key"))
    problem = mistake(config, capsys)
    assert problem.startswith("CHATD_PROVIDERS__P__API_KEY_FILE: ")
    assert reason in problem
    monkeypatch.delenv("CHATD_PROVIDERS__P__API_KEY_FILE")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    problem = mistake(config, capsys)
    assert problem.startswith("providers.p.api_key: ")
    assert reason in problem


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfk\n", b"k\r\n", b"k", b"k\n\n"])
def test_bom_and_last_line_ends_are_not_part_of_a_secret(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    settings = load(write_config(tmp_path, VALID % 'api_key_file = "key"'), {})
    key = settings.providers["p"].api_key
    assert key is not None
    assert key.get_secret_value() == "k"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ('{ "X A" = "a" }', "headers: X A is not the name of a header"),
        ('{ "" = "a" }', "is not the name of a header"),
        ('{ "X:A" = "a" }', "headers: X:A is not the name of a header"),
        ('{ "X-Ä" = "a" }', "headers: X-Ä is not the name of a header"),
        ('{ "X\\nA" = "a" }', "headers: X\\nA is not the name of a header"),
        ('{ Content-Length = "5" }', "headers: Content-Length is set by the HTTP client"),
        ('{ transfer-encoding = "x" }', "headers: transfer-encoding is set by the HTTP client"),
        (f'{{ X = "{SECRET}\\nb" }}', "headers: X has a line end inside"),
        (f'{{ X = "{SECRET}é" }}', "headers: X has a character that is not ASCII"),
        (f'{{ X = " {SECRET}" }}', "headers: X begins or ends with a blank"),
        (f'{{ X = ["{SECRET}"] }}', "headers: X must be a valid string"),
        ('{ X = "a", x = "b" }', "headers: X and x are the same header"),
    ],
)
def test_header_that_http_cannot_carry_is_a_mistake(
    headers: str, expected: str, tmp_path: Path, capsys: Captured
) -> None:
    problem = mistake(write_config(tmp_path, VALID % f"headers = {headers}"), capsys)
    assert expected in problem


def test_header_that_http_can_carry_is_accepted(tmp_path: Path) -> None:
    headers = """{ X-Team = "a b\\tc", "!#$%&'*+.^_`|~" = "", Host = "h" }"""
    given = load(write_config(tmp_path, VALID % f"headers = {headers}"), {}).providers["p"].headers
    values = {name: value.get_secret_value() for name, value in given.items()}
    assert values == {"X-Team": "a b\tc", "!#$%&'*+.^_`|~": "", "Host": "h"}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://h",
        "h/v1",
        "//h/v1",
        "http://",
        "http://?x",
        "http:///v1",
        "http://[::1",
        "http://[x]/",
        "http://h:99999",
        "http://h:x",
        "http://:80",
        "http://h h",
        "http://h/\\u0007",
        "http://h/a\\nb",
        "http://h\\\\@x",
        "http://a..b/",
        "http://h/v1#part",
    ],
)
def test_unusable_base_url_is_a_mistake(url: str, tmp_path: Path, capsys: Captured) -> None:
    config = write_config(tmp_path, MODEL.replace("http://127.0.0.1:9/v1", url))
    assert mistake(config, capsys).startswith("providers.p.base_url: ")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "HTTP://h",
        "http://u:p@h/v1",
        "http://[::1]:8000/v1/",
        "http://127.0.0.1:1",
        "https://bücher.example/v1",
        "https://my_host.internal:65535/a%20b",
        "https://x.openai.azure.com/openai/deployments/d?api-version=2024-10-21",
    ],
)
def test_usable_base_url_is_accepted(url: str, tmp_path: Path) -> None:
    config = write_config(tmp_path, MODEL.replace("http://127.0.0.1:9/v1", url))
    assert load(config, {}).providers["p"].base_url == url
