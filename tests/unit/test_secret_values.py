"""Secret values that the log redacts: also the parts of a URL alone."""

from chatd.settings import Settings
from chatd.settings.secrets import secret_values


def test_passwords_of_a_database_url_are_secrets_by_themselves() -> None:
    url = "postgresql://u:s3%2Fcret@a,[::1]:3/db?sslpassword=q1&application_name=chatd"
    settings = Settings.model_validate({"database": {"url": url}})
    values = set(secret_values(settings))
    assert {url, "s3%2Fcret", "s3/cret", "q1"} <= values
    assert "chatd" not in values
