"""Mistakes in the configuration: one line that names the key or the file, and exit code 78."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chatd.cli.exit_codes import Exit
from chatd.cli.main import main
from chatd.settings import load

Captured = pytest.CaptureFixture[str]
SECRET = "geheim"
VALID = """\
[providers.p]
kind = "openai-compatible"
base_url = "http://127.0.0.1:9/v1"
%s
[models.m]
provider = "p"
model = "m"
"""
MODEL = VALID % ""
DEEP = 100_000


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHATD_CONFIG", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr("chatd.logs.configure", lambda **_: None)


def mistake(config: Path, capsys: Captured) -> str:
    """Return the one line that both commands print for this file, without the name of the program."""
    lines = []
    for command in ("config check", "run"):
        with capture_logs():
            assert main([*command.split(), "--config", str(config)]) == Exit.CONFIGURATION
        out, err = capsys.readouterr()
        assert out == ""
        lines += err.splitlines()
    first, second = lines
    assert first == second
    assert SECRET not in first
    assert first.isprintable()
    assert first.startswith("chatd: ")
    return first.removeprefix("chatd: ")


def write(folder: Path, content: str | bytes) -> Path:
    config = folder / "config.toml"
    config.write_bytes(content.encode() if isinstance(content, str) else content)
    return config


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (bytes(range(256)), "not UTF-8 text"),
        (MODEL.encode("utf-16"), "not UTF-8 text"),
        (MODEL + "\0", "not valid TOML: Invalid statement (at line 8, column 1)"),
        (MODEL + "[models.m]\n", "not valid TOML: Cannot declare ('models', 'm') twice"),
        (MODEL + "[http]\nport = 1\nport = 2\n", "not valid TOML: Cannot overwrite a value"),
        (MODEL + "[http]\nport = " + "9" * 5000, "not valid TOML: "),
        (MODEL + f"settings.x = {'[' * DEEP}", "nested too deep"),
        (MODEL + f"settings.x = {'{a = ' * DEEP}", "nested too deep"),
        (MODEL + "#" * 2**20, "larger than 1048576 bytes"),
    ],
    ids=lambda value: repr(value)[-24:],
)
def test_unusable_file_is_named(
    content: str | bytes, reason: str, tmp_path: Path, capsys: Captured
) -> None:
    config = write(tmp_path, content)
    assert mistake(config, capsys).startswith(f"{config}: {reason}")


def test_file_that_is_none_is_named(tmp_path: Path, capsys: Captured) -> None:
    for name, target in (("dangling", "gone"), ("loop", "loop")):
        (tmp_path / name).symlink_to(target)
    reasons = {
        ".": "Is a directory",
        "absent": "No such file or directory",
        "dangling": "No such file or directory",
        "loop": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
    }
    for name, reason in reasons.items():
        config = tmp_path / name
        assert mistake(config, capsys) == f"{config}: {reason} (file)"


def test_endless_file_is_read_up_to_its_bound(capsys: Captured) -> None:
    assert mistake(Path("/dev/zero"), capsys).startswith("/dev/zero: larger than 1048576 bytes")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbf" + MODEL.encode(), MODEL.replace("\n", "\r\n"), MODEL.replace("\n", "\r")],
    ids=["BOM", "CRLF", "CR"],
)
def test_marks_of_an_editor_are_no_mistake(content: str | bytes, tmp_path: Path) -> None:
    assert load(write(tmp_path, content), {}) == load(write(tmp_path, MODEL), {})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[limits]\nmax_labels = 1" + "0" * 400, "limits.max_labels: must be at most 2147483647"),
        ("[turn]\nmax_steps = 2147483648", "turn.max_steps: must be at most 2147483647"),
        (
            "[turn]\nbackoff_max_seconds = 1e308",
            "turn.backoff_max_seconds: must be at most 2147483",
        ),
        ("[http]\ndrain_seconds = 1" + "0" * 400, "http.drain_seconds: must be a valid number"),
        ("[stream]\nevent_retention_days = 36501", "stream.event_retention_days: must be less"),
        ("[http]\nidempotency_retention_hours = 1e6", "http.idempotency_retention_hours: must be "),
        ("[models.m.settings]\nt = nan", "models.m.settings: t must be a finite number"),
        ("[models.m.settings]\nt.u = [-inf]", "models.m.settings: t.u.0 must be a finite number"),
        ("[models.m.settings]\nt = 2026-01-01", "models.m.settings: t must be text, a number,"),
        ('[models.m.settings]\nt = "\\u0000"', "models.m.settings: t must not have NUL"),
        ('[models.m.settings]\n"\\u0000" = 1', "models.m.settings: \\x00 must not have NUL"),
        ("[models.m.settings]\n" + ".".join("t" * 40) + " = 1", "is nested too deep"),
        (f"[models.m.settings]\nt = {'[' * 300}{']' * 300}", "is nested too deep"),
        ('[models.n]\nprovider = "p"\nmodel = "a\\nb"', "models.n.model: must not have control"),
        ('[auth]\nmode = "token"\n[http]\nhost = "a\\u0000"', "http.host: must not have control"),
        ('"a\\nb\\u001b]52;c;\\u202e" = 1', "models.m.a\\nb\\x1b]52;c;\\u202e: unknown key"),
        ('["\\u001b[31m"]', "\\x1b[31m: unknown key"),
        ('[models."a\\u001b"]\nmodel = "x"\nprovider = "p"', "models.a\\x1b: a name is made of"),
        (
            f"[models.{'n' * 201}]\nprovider = 'p'\nmodel = 'x'",
            "a name is made of at most 200 letters",
        ),
        (
            f'[models.n]\nprovider = "p"\nmodel = "{"m" * 1001}"',
            "models.n.model: String must have at most 1000",
        ),
        (f"[{'a' * 500_000}]", "aaa…: unknown key"),
        ("[auth]\njwks = 'https://h:99999/x'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://h h/'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://a..b/'", "auth.jwks: must be an https:// URL"),
        ("[auth]\njwks = 'https://[::1/'", "auth.jwks: must be an https:// URL"),
        ('[auth]\njwks = "/a\\u0000b"', "auth.jwks: must be an https:// URL"),
        (
            "[providers.s]\nkind = 'scripted'\nscript = [{ \"a\\nb\" = 'x' }]",
            "providers.s.script.0.a\\nb: ",
        ),
        (
            "[providers.s]\nkind = 'scripted'\nscripts = { \"\\u001b\" = [{ txt = 'x' }] }",
            "providers.s.scripts.\\x1b.0.txt: ",
        ),
        ("[[models.x]]", "models.x: must be a table: [models.NAME]"),
    ],
)
def test_mistake_in_a_value_names_its_key(
    line: str, expected: str, tmp_path: Path, capsys: Captured
) -> None:
    assert expected in mistake(write(tmp_path, MODEL + line), capsys)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CHATD_MODELS__M__SETTINGS": '{"a":' * DEEP}, "CHATD_MODELS__M__SETTINGS: is nested"),
        (
            {"CHATD_MODELS__M__SETTINGS": '{"a":' * 600 + "1" + "}" * 600},
            "CHATD_MODELS__M__SETTINGS: is nested too deep",
        ),
        ({"CHATD_MODELS__M__SETTINGS": '{"a":' + "9" * 5000}, "must be a list or a table (as JSON"),
        ({"CHATD_MODELS__M__SETTINGS": '{"a": "\\ud800"}'}, "a must not have NUL"),
        ({"CHATD_HTTP__HOST": "\udcff"}, "CHATD_HTTP__HOST: must be a valid string"),
        ({"CHATD_PROVIDERS__P__HEADERS": f'["{SECRET}"]'}, "CHATD_PROVIDERS__P__HEADERS: must be"),
    ],
    ids=range(6),
)
def test_mistake_in_a_variable_names_it(
    variables: Mapping[str, str],
    expected: str,
    tmp_path: Path,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert expected in mistake(write(tmp_path, MODEL), capsys)


def test_report_of_many_mistakes_is_bounded(tmp_path: Path, capsys: Captured) -> None:
    config = write(tmp_path, "".join(f"[x{number}]\n" for number in range(300)))
    assert main(["config", "check", "--config", str(config)]) == Exit.CONFIGURATION
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 101
    assert lines[0].startswith("chatd: x0: unknown key")
    assert lines[-1] == "chatd: 200 more problems"


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


@pytest.mark.parametrize(("content", "reason"), KEYS_AS_FILES.values(), ids=[*KEYS_AS_FILES])
def test_secret_that_fits_no_header_is_a_mistake(
    content: bytes, reason: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_bytes(content)
    (tmp_path / "providers.p.api_key").write_bytes(content)
    problem = mistake(write(tmp_path, VALID % 'api_key_file = "key"'), capsys)
    assert problem.startswith("providers.p.api_key_file: ")
    assert reason in problem
    config = write(tmp_path, MODEL)
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
    settings = load(write(tmp_path, VALID % 'api_key_file = "key"'), {})
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
    problem = mistake(write(tmp_path, VALID % f"headers = {headers}"), capsys)
    assert expected in problem


def test_header_that_http_can_carry_is_accepted(tmp_path: Path) -> None:
    headers = """{ X-Team = "a b\\tc", "!#$%&'*+.^_`|~" = "", Host = "h" }"""
    given = load(write(tmp_path, VALID % f"headers = {headers}"), {}).providers["p"].headers
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
    config = write(tmp_path, MODEL.replace("http://127.0.0.1:9/v1", url))
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
    config = write(tmp_path, MODEL.replace("http://127.0.0.1:9/v1", url))
    assert load(config, {}).providers["p"].base_url == url
