"""In place of servers that cannot be installed: they refuse what the published interfaces lack, and score as stated."""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Json = dict[str, Any]


class RefusedError(Exception):
    """A request that the interface does not have."""


def only(value: Json, *known: str) -> Json:
    if not isinstance(value, dict) or value.keys() - set(known):
        raise RefusedError(f"{value!r:.300}: known are {known}")
    return value


class Stub:
    """What answers; a subclass has `answer`. requests: those so far, (method, path, body)."""

    def __init__(self) -> None:
        self.documents: dict[str, Json] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, asked: dict[str, list[str]], body: Any) -> tuple[int, Json]:
        raise NotImplementedError


@contextmanager
def serving(stub: Stub) -> Iterator[int]:
    """The port of a server on the loopback interface, which ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet

        def do_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length).decode()
            lines = self.headers.get("Content-Type") == "application/x-ndjson"
            body = [json.loads(line) for line in raw.splitlines()] if lines else json.loads(raw or "null")
            parts = urlsplit(self.path)
            with stub.lock:
                stub.requests.append((self.command, parts.path, body))
                try:
                    status, answer = stub.answer(self.command, parts.path, parse_qs(parts.query), body)
                except (RefusedError, KeyError, TypeError, ValueError) as error:
                    status, answer = 400, {"error": f"{type(error).__name__}: {error}"}
            text = b"" if self.command == "HEAD" else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ---- OpenSearch and Elasticsearch -----------------------------------------------------------------------------------

_PARAMETERS = {
    "keyword": {"index", "doc_values", "ignore_above"},
    "long": {"index"},
    "text": {"index"},
    "object": {"enabled", "dynamic"},
    "rank_features": {"positive_score_impact"},
    "sparse_vector": {"method"},
}


class LuceneStub(Stub):
    """flavour: "opensearch" or "elasticsearch"."""

    def __init__(self, flavour: str) -> None:
        super().__init__()
        self.flavour = flavour
        self.mappings: Json = {}

    def answer(self, method: str, path: str, asked: dict[str, list[str]], body: Any) -> tuple[int, Json]:
        index, _, verb = path.strip("/").partition("/")
        if method == "PUT" and not verb:
            self._create(index, body)
            return 200, {"acknowledged": True}
        if index not in self.mappings:
            return 404, {"error": "index_not_found_exception"}
        if method == "HEAD":
            return 200, {}
        answers = {"_bulk": self._bulk, "_mget": self._mget, "_search": self._search, "_count": self._count}
        if method != "POST" or verb not in answers:
            raise RefusedError(f"{method} {path}")
        return 200, answers[verb](index, body)

    def _create(self, index: str, body: Json) -> None:
        only(body, "settings", "mappings")
        only(body["settings"], *(["index"] if self.flavour == "opensearch" else []))
        mappings = only(body["mappings"], "dynamic", "dynamic_templates", "properties")
        for template in mappings["dynamic_templates"]:
            for rule in template.values():
                only(rule, "path_match", "mapping")
        for properties in mappings["properties"].values():
            kind = properties["type"]
            allowed = _PARAMETERS[kind] - ({"method"} if self.flavour == "elasticsearch" else set())
            only(properties, "type", *allowed)
            if kind == "rank_features" and self.flavour != "opensearch":
                raise RefusedError("a sparse vector of Elasticsearch is a sparse_vector")
        self.mappings[index] = mappings["properties"]
        self.documents.clear()

    def _bulk(self, index: str, lines: list[Any]) -> Json:
        items: list[Json] = []
        rest = iter(lines)
        for action in rest:
            ((verb, target),) = only(action, "index", "delete").items()
            name = only(target, "_id")["_id"]
            if len(name.encode()) > 512:
                raise RefusedError("an id of more than 512 bytes")
            status = 200
            if verb == "index":
                self._check(index, source := next(rest))
                self.documents[name] = source
            elif self.documents.pop(name, None) is None:
                status = 404
            items.append({verb: {"_id": name, "status": status}})
        return {"errors": any(next(iter(item.values()))["status"] >= 300 for item in items), "items": items}

    def _check(self, index: str, source: Json) -> None:
        only(source, *self.mappings[index])
        for name, value in source.items():
            kind = self.mappings[index][name]["type"]
            if kind == "long" and not isinstance(value, int):
                raise RefusedError(f"{name} is a long, not {value!r}")
            vector = kind in ("rank_features", "sparse_vector")
            if vector and not (value and all(isinstance(token, str) and weight > 0 for token, weight in value.items())):
                raise RefusedError("a vector's tokens are texts, its weights above zero")

    def _mget(self, index: str, body: Json) -> Json:
        docs = []
        for one in only(body, "docs")["docs"]:
            only(one, "_id", "_source")
            found = self.documents.get(one["_id"])
            docs.append({"_id": one["_id"], "found": found is not None, "_source": _cut(found or {}, one["_source"])})
        return {"docs": docs}

    def _count(self, index: str, body: Json) -> Json:
        return {
            "count": sum(self._score(only(body, "query")["query"], one) is not None for one in self.documents.values())
        }

    def _search(self, index: str, body: Json) -> Json:
        only(body, "size", "query", "_source", "sort", "search_after")
        if body["size"] > 10_000:
            raise RefusedError("max_result_window")
        scored = [(self._score(body["query"], one), name) for name, one in self.documents.items()]
        found = [(score, name) for score, name in scored if score is not None]
        if "sort" in body:
            after = body.get("search_after", [""])[0]
            found = sorted((one for one in found if one[1] > after), key=lambda one: one[1])
        else:
            found.sort(key=lambda one: -one[0])
        hits = [
            {"_id": name, "_score": score, "_source": _cut(self.documents[name], body["_source"])}
            for score, name in found[: body["size"]]
        ]
        return {"hits": {"hits": hits}}

    def _score(self, query: Json, document: Json) -> float | None:
        """None: it does not match."""
        ((kind, given),) = query.items()
        if kind == "match_all":
            return 1.0
        if kind in ("term", "terms", "range"):
            return 0.0 if self._holds(kind, given, document) else None
        if kind == "bool":
            only(given, "must", "filter", "must_not")
            must = [self._score(one, document) for one in given["must"]]
            chosen = all(self._score(one, document) is not None for one in given["filter"])
            if not chosen or None in must or any(self._score(one, document) is not None for one in given["must_not"]):
                return None
            return sum(one for one in must if one is not None)
        return self._product(self._tokens(kind, given), document.get("vector", {}))

    def _holds(self, kind: str, given: Json, document: Json) -> bool:
        ((field, wanted),) = given.items()
        value: Any = document
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if kind == "range":
            ((sign, bound),) = only(wanted, "lt", "lte", "gt", "gte").items()
            signs = {"lt": "__lt__", "lte": "__le__", "gt": "__gt__", "gte": "__ge__"}
            return value is not None and getattr(value if isinstance(value, str) else float(value), signs[sign])(
                bound if isinstance(bound, str) else float(bound)
            )
        asked = [only(wanted, "value")["value"]] if kind == "term" else wanted
        return bool(set(asked) & set(value if isinstance(value, list) else [value]))

    def _tokens(self, kind: str, given: Json) -> Json:
        if self.flavour == "opensearch" and kind == "neural_sparse":
            return only(only(given, "vector")["vector"], "query_tokens")["query_tokens"]
        if self.flavour == "elasticsearch" and kind == "sparse_vector":
            only(given, "field", "query_vector", "prune", "pruning_config")
            tokens: Json = given["query_vector"]
            heaviest = max(tokens.values())
            # what new versions do unless they are told not to
            return {t: w for t, w in tokens.items() if given.get("prune") is False or w >= 0.4 * heaviest}
        raise RefusedError(f"no query {kind!r}")

    def _product(self, tokens: Json, vector: Json) -> float | None:
        if max(tokens.values()) > 64 or min(tokens.values()) <= 0:
            raise RefusedError("a feature's weight lies above 0 and is at most 64")
        shared = tokens.keys() & vector.keys()
        return sum(tokens[token] * _feature(vector[token]) for token in shared) if shared else None


def _feature(weight: float) -> float:
    """As Lucene's FeatureField keeps it: the upper 17 bits of a float32."""
    bits = struct.unpack("<I", struct.pack("<f", weight))[0] >> 15 << 15
    kept: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return kept


def _cut(source: Json, fields: list[str]) -> Json:
    return {name: source[name] for name in fields if name in source}


# ---- Vespa ----------------------------------------------------------------------------------------------------------

VESPA_FIELDS: dict[str, type | tuple[type, ...]] = {
    "id": str, "digest": str, "document": str, "place": int, "start": int, "end": int, "title": str, "text": str,
    "metadata": str, "tags": list, "numbers": dict, "vector": dict, "packed": str,
}  # fmt: skip
_PRODUCT = re.compile(r"\((?:\{targetHits: \d+\})?(?:dotProduct|wand)\(vector, (\{.*?\})\)\)")
_SAME = re.compile(r'numbers contains sameElement\(key contains ("(?:[^"\\]|\\.)*"), value (<|<=|>|>=) (\S+)\)')
_TAGS = re.compile(r'(!?)\((tags contains "(?:[^"\\]|\\.)*"(?: or tags contains "(?:[^"\\]|\\.)*")*)\)')
_TAG = re.compile(r'tags contains ("(?:[^"\\]|\\.)*")')


class VespaStub(Stub):
    """An application with one schema."""

    def __init__(self, schema: str) -> None:
        super().__init__()
        self.schema = schema

    def answer(self, method: str, path: str, asked: dict[str, list[str]], body: Any) -> tuple[int, Json]:
        if (method, path) == ("POST", "/search/"):
            return 200, {"root": self._search(body)}
        found = re.fullmatch(r"/document/v1/saelex/(\w+)/docid/?(.*)", path)
        if found is None or found[1] != self.schema:
            return 400, {"message": f"Document type {found and found[1]} does not exist"}
        name = unquote(found[2])
        if not name:
            return 200, self._visit(asked)
        if method == "GET":
            there = self.documents.get(name)
            fields = self._field_set(asked)
            return (404, {}) if there is None else (200, {"fields": _cut(there, fields)})
        if method == "POST":
            fields = only(body, "fields")["fields"]
            for field, value in only(fields, *VESPA_FIELDS).items():
                if not isinstance(value, VESPA_FIELDS[field]):
                    raise RefusedError(f"{field}: {value!r}")
            if not all(isinstance(weight, int) and -(2**31) <= weight < 2**31 for weight in fields["vector"].values()):
                raise RefusedError("a weightedset's weights are integers of 32 bits")
            self.documents[name] = fields
        elif method == "DELETE":
            self.documents.pop(name, None)
        return 200, {}

    def _field_set(self, asked: dict[str, list[str]]) -> list[str]:
        schema, _, fields = asked["fieldSet"][0].partition(":")
        if schema != self.schema:
            raise RefusedError(schema)
        return list(only(dict.fromkeys(fields.split(",")), *VESPA_FIELDS))

    def _visit(self, asked: dict[str, list[str]]) -> Json:
        only(asked, "fieldSet", "wantedDocumentCount", "continuation")
        start, count = int(asked.get("continuation", ["0"])[0]), int(asked["wantedDocumentCount"][0])
        fields = self._field_set(asked) if "fieldSet" in asked else list(VESPA_FIELDS)
        some = list(self.documents.values())[start : start + count]
        more = {"continuation": str(start + count)} if start + count < len(self.documents) else {}
        return {"documents": [{"fields": _cut(one, fields)} for one in some], **more}

    def _search(self, body: Json) -> Json:
        only(body, "yql", "hits", "ranking", "timeout")
        only(body["ranking"], "profile")
        head, _, rest = body["yql"].partition(" where ")
        chosen = re.fullmatch(rf"select (.+) from {self.schema}", head)
        if chosen is None:
            raise RefusedError(head)
        fields = list(only(dict.fromkeys(chosen[1].split(", ")), *VESPA_FIELDS))
        tokens: Json | None = None
        if product := _PRODUCT.match(rest):
            tokens = json.loads(product[1])
            if not all(isinstance(weight, int) for weight in tokens.values()):
                raise RefusedError("weights of a dotProduct are integers")
        left = _PRODUCT.sub("", rest, count=1)
        tests = list(_TAGS.finditer(left)) + list(_SAME.finditer(left))
        if _SAME.sub("", _TAGS.sub("", left)).replace(" and ", "").strip():
            raise RefusedError(rest)
        found = []
        for one in self.documents.values():
            score = 0 if tokens is None else sum(w * one["vector"].get(t, 0) for t, w in tokens.items())
            if (tokens is None or tokens.keys() & one["vector"].keys()) and all(_holds(test, one) for test in tests):
                found.append((score, one))
        found.sort(key=lambda one: -one[0])
        hits = [{"relevance": float(score), "fields": _cut(one, fields)} for score, one in found[: body["hits"]]]
        return {"fields": {"totalCount": len(found)}, "children": hits}


def _holds(test: re.Match[str], document: Json) -> bool:
    if test.re is _SAME:
        value = document["numbers"].get(json.loads(test[1]))
        signs = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}
        return value is not None and bool(getattr(float(value), signs[test[2]])(float(test[3])))
    tags = {json.loads(tag) for tag in _TAG.findall(test[2])}
    return bool(tags & set(document["tags"])) != (test[1] == "!")
