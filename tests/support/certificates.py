"""Certificates for tests: an authority, and a certificate of localhost that it signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

_SUBJECT = "/CN=localhost"
_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM format."""

    authority: Path
    certificate: Path
    key: Path
    other_key: Path
    """A key that fits no certificate."""
    locked_key: Path
    """The same key as ``key``, encrypted by ``password``."""
    password: str = "marsh"


def make_certificates(folder: Path) -> Certificates:
    """Create an authority, a certificate of localhost, and keys, by OpenSSL."""
    files = Certificates(
        authority=folder / "authority.pem",
        certificate=folder / "localhost.pem",
        key=folder / "localhost.key",
        other_key=folder / "other.key",
        locked_key=folder / "locked.key",
    )
    authority_key, request = folder / "authority.key", folder / "localhost.csr"
    extensions = folder / "extensions"
    extensions.write_text(_NAMES)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
    _openssl("req", "-x509", *new_key, "-keyout", authority_key, "-out", files.authority,
             "-days", "2", "-subj", "/CN=Authority of a test")  # fmt: skip
    _openssl("req", *new_key, "-keyout", files.key, "-out", request, "-subj", _SUBJECT)
    _openssl("x509", "-req", "-in", request, "-CA", files.authority, "-CAkey", authority_key,
             "-CAcreateserial", "-days", "2", "-extfile", extensions,
             "-out", files.certificate)  # fmt: skip
    _openssl("ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", files.other_key)
    _openssl("pkey", "-in", files.key, "-aes256", "-passout", f"pass:{files.password}",
             "-out", files.locked_key)  # fmt: skip
    return files


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
