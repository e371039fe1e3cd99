"""All named queries of the store."""

from importlib import resources

from chatd.store import sql

QUERY_FILES = sorted(
    file.name.removesuffix(".sql")
    for file in (resources.files("chatd.store") / "queries").iterdir()
    if file.name.endswith(".sql")
)
ALL_QUERIES = [query for file in QUERY_FILES for query in sql.load(file).values()]
