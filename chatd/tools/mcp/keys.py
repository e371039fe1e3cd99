"""Private keys that sign the assertions of a client of OAuth."""

from typing import Final

_CURVE_ALGORITHMS: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def signing_algorithm(private_key: str) -> str:
    """Return the algorithm for a private key in PEM. Raise ``ValueError`` if there is none."""
    # ruff: noqa: PLC0415 - takes 50 ms to import, for the few servers that have such a key
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (TypeError, UnsupportedAlgorithm) as error:  # it has a passphrase, or is of a rare kind
        raise ValueError(str(error)) from None
    match key:
        case RSAPrivateKey():
            return "RS256"
        case EllipticCurvePrivateKey() if key.curve.name in _CURVE_ALGORITHMS:
            return _CURVE_ALGORITHMS[key.curve.name]
        case Ed25519PrivateKey():
            return "EdDSA"
        case _:
            raise ValueError("a kind of key that no token is signed with")
