"""Read a shop from the neutral files of its owner, and write one out."""

from __future__ import annotations

import csv
import gzip
import json
import math
import re
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from retrieval.deals import Offer
from retrieval.records import AttributeValue, Item, ShopError

if TYPE_CHECKING:
    import pandas as pd

# Longest text kept, in characters: what a card or a prompt could ever show. Longer ids are refused, not cut.
LIMITS = {
    "item_id": 200,
    "title": 300,
    "description": 2_000,
    "category": 100,
    "brand": 100,
    "attribute": 300,
    "note": 60,
    "url": 500,
}
MOST_CATEGORIES = 10
MOST_ATTRIBUTES = 50
COLUMNS = ("user_id", "item_id", "timestamp", "event", "quantity", "price", "basket_id")
NEEDED = ("user_id", "item_id", "timestamp")
OFFER_COLUMNS = ("item_id", "kind", "starts", "ends", "user_id", "note", "strength")
OFFER_NEEDED = ("item_id", "kind", "starts", "ends")
EVENTS = ("purchase", "view", "like", "dislike")
LATEST_TIMESTAMP = 32_503_680_000.0  # the year 3000: beyond it the number is no count of seconds
AHEAD = 86_400.0  # seconds that clocks and time zones may be apart; what lies further ahead has not happened
_ITEM_WANTED = 'one JSON object a line with at least "item_id" and "title", as in {"item_id": "a1", "title": "Tent"}'
_OFFER_WANTED = "item_id, kind (promotion or coupon), starts and ends (ISO 8601, or seconds since 1970) in every row"
_LINE_WANTED = "user_id, item_id and timestamp (ISO 8601, or seconds since 1970) in every row, of items that exist"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A row that cannot be used, and why; `value` is what stood there, cut short."""

    file: str
    line: int
    reason: str
    value: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A shop as it was read: its items, its log and what was dropped on the way.

    `interactions` has the columns user_id, item_id, timestamp (seconds), event, quantity, price, basket_id,
    oldest first; `counts` says how many rows were read, kept and dropped, by reason; `shoppers`, where the source
    knows them, has a column user_id. `said` are words that shoppers say, to the name of the kind they mean
    ("kleenex": "facial tissue"): search knows them, and nothing says them of an item. `offers` are the promotions and
    coupons, past ones too. The same `fingerprint`, where there is one, means the same source, without reading it.
    """

    name: str
    items: Sequence[Item]
    interactions: pd.DataFrame
    counts: Mapping[str, int] = field(default_factory=dict)
    rejected: Sequence[Rejected] = ()
    shoppers: pd.DataFrame | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    offers: Sequence[Offer] = ()
    fingerprint: str = ""


def read_files(*, items: Path | str, interactions: Path | str | None = None, deals: Path | str | None = None) -> Source:
    """Read `items.jsonl` and, where there are such, an interactions file (`formats.md` §1) and a file of deals.

    Raises:
        ShopError: a file is missing, unreadable, or nothing in it can be used.
    """
    kept, rejected = read_items(items)
    counts = {"items read": len(kept) + len(rejected), "items": len(kept)}
    counts |= {f"items dropped: {why}": number for why, number in _by_reason(rejected).items()}
    item_ids = {item.item_id for item in kept}
    offers: list[Offer] = []
    if deals is not None:
        offers, refused = read_offers(deals, item_ids=item_ids)
        counts["deals"] = sum(len(offer.item_ids) for offer in offers)
        counts |= {f"deals dropped: {why}": number for why, number in _by_reason(refused).items()}
        rejected = [*rejected, *refused]
    name = Path(items).name
    if interactions is None:
        return Source(name=name, items=kept, interactions=_frame({}), counts=counts, rejected=rejected, offers=offers)
    lines, refused = read_interactions(interactions, item_ids=item_ids)
    counts |= {"lines read": len(lines) + len(refused), "lines kept": len(lines)}
    counts |= {f"lines dropped: {why}": number for why, number in _by_reason(refused).items()}
    # Kept, as a till may write a row for each of two cans; `History` counts an item once a trip, and a word once.
    if repeated := int(lines.duplicated().sum()):
        counts["lines kept that repeat another"] = repeated
    rejected = [*rejected, *refused]
    return Source(name=name, items=kept, interactions=lines, counts=counts, rejected=rejected, offers=offers)


def read_items(path: Path | str) -> tuple[list[Item], list[Rejected]]:
    """Read items, one JSON object a line (`.jsonl`, also `.gz`), and list the lines that cannot be used.

    Raises:
        ShopError: the file is missing or unreadable, or no line in it describes an item.
    """
    path = Path(path)
    if _suffix(path) != ".jsonl":
        raise ShopError(f"Items come as .jsonl (or .jsonl.gz), not as {path.name}: {_ITEM_WANTED}.")
    items: list[Item] = []
    rejected: list[Rejected] = []
    first_line: dict[str, int] = {}
    for line, record, problem in _json_lines(path):
        item = None
        if not problem:
            item, problem = _item(record)
        if item is not None and item.item_id in first_line:
            problem = f"item_id already used on line {first_line[item.item_id]}"
        if item is None or problem:
            reason = "item_id already used" if problem.startswith("item_id already") else problem
            rejected.append(Rejected(file=path.name, line=line, reason=reason, value=_short(record)))
            continue
        first_line[item.item_id] = line
        items.append(item)
    if not items:
        raise _nothing(path, rejected, wanted=_ITEM_WANTED)
    return items, rejected


def read_interactions(
    path: Path | str, *, item_ids: Collection[str], now: float | None = None
) -> tuple[pd.DataFrame, list[Rejected]]:
    """Read events (`.csv`, `.jsonl`, also `.gz`, or `.parquet`) of the items given, oldest first.

    Args:
        path: The file.
        item_ids: The items that the shop has.
        now: In seconds since 1970, this machine's clock by default; what happens more than a day later is refused.

    Returns:
        A frame with the columns of `COLUMNS` (`price` may be NaN: not known), and the rows that cannot be used.

    Raises:
        ShopError: the file is missing or unreadable, or no row in it can be used.
    """
    import pandas as pd

    path = Path(path)
    read = {".csv": _csv_columns, ".jsonl": _jsonl_columns, ".parquet": _parquet_columns}.get(_suffix(path))
    if read is None:
        raise ShopError(f"Interactions come as .csv, .jsonl (both also .gz) or .parquet, not as {path.name}.")
    raw, numbers, rejected = read(path)
    rows = pd.DataFrame({name: pd.Series(raw.get(name, [None] * len(numbers)), dtype=object) for name in COLUMNS})
    rows = rows.where(rows.notna(), "")
    reason = pd.Series("", index=rows.index, dtype=object)

    def refuse(bad: pd.Series, why: str) -> None:
        reason[bad & (reason == "")] = why

    ids = {name: _ids(rows[name]) for name in ("user_id", "item_id", "basket_id")}
    for name in ("user_id", "item_id"):
        refuse(ids[name] == "", f"no {name}")
    for name in ("user_id", "item_id", "basket_id"):
        refuse(ids[name].str.len() > LIMITS["item_id"], f"{name} is longer than {LIMITS['item_id']} characters")
    refuse(~ids["item_id"].isin(set(item_ids)), "no item has this item_id")
    seconds = _seconds(rows["timestamp"])
    refuse(rows["timestamp"].astype(str).str.strip() == "", "no timestamp")
    refuse(seconds.isna(), "timestamp cannot be read")
    # One such row would be the newest trip, and everything else long ago.
    latest = (time.time() if now is None else now) + AHEAD
    refuse(seconds > latest, "timestamp is in the future by this machine's clock")
    event = rows["event"].astype(str).str.strip().str.lower().replace("", "purchase")
    refuse(~event.isin(EVENTS), f"event is none of {', '.join(EVENTS)}")
    quantity, no_quantity = _numbers(rows["quantity"])
    refuse(~no_quantity & ~(quantity > 0), "quantity is not a number above zero")
    price, no_price = _numbers(rows["price"])
    refuse(~no_price & ~(price >= 0), "price is negative or not a number")

    shown = {"timestamp": "timestamp", "event": "event", "quantity": "quantity", "price": "price"}
    for at in reason.index[reason != ""]:
        why = reason[at]
        column = next((name for word, name in shown.items() if why.startswith((word, f"no {word}"))), "item_id")
        rejected.append(Rejected(file=path.name, line=numbers[at], reason=why, value=_short(rows.at[at, column])))
    rejected.sort(key=lambda row: row.line)
    keep = (reason == "").to_numpy()
    if not keep.any():
        raise _nothing(path, rejected, wanted=_LINE_WANTED)
    columns = {
        "user_id": ids["user_id"],
        "item_id": ids["item_id"],
        "timestamp": seconds,
        "event": event,
        "quantity": quantity.where(~no_quantity, 1.0),
        "price": price,
        "basket_id": ids["basket_id"],
    }
    frame = _frame({name: column[keep] for name, column in columns.items()})
    return frame.sort_values("timestamp", kind="stable", ignore_index=True), rejected


def read_offers(path: Path | str, *, item_ids: Collection[str]) -> tuple[list[Offer], list[Rejected]]:
    """Read promotions and coupons (`.csv`, `.jsonl`, also `.gz`), one item a row, and list the rows that cannot be used.

    Rows that differ in nothing but their item and its strength are one offer.

    Raises:
        ShopError: the file is missing or unreadable, or no row in it can be used.
    """
    import pandas as pd

    path = Path(path)
    read = {".csv": _csv_columns, ".jsonl": _jsonl_columns}.get(_suffix(path))
    if read is None:
        raise ShopError(f"Deals come as .csv or .jsonl (both also .gz), not as {path.name}.")
    raw, numbers, rejected = read(path, columns=OFFER_COLUMNS, needed=OFFER_NEEDED)
    rows = pd.DataFrame({name: pd.Series(raw.get(name, [None] * len(numbers)), dtype=object) for name in OFFER_COLUMNS})
    rows = rows.where(rows.notna(), "")
    reason = pd.Series("", index=rows.index, dtype=object)
    column = pd.Series("", index=rows.index, dtype=object)

    def refuse(bad: pd.Series, why: str, of: str) -> None:
        new = bad & (reason == "")
        reason[new], column[new] = why, of

    ids = {name: _ids(rows[name]) for name in ("user_id", "item_id")}
    kind = rows["kind"].astype(str).str.strip().str.lower()
    times = {name: _seconds(rows[name]) for name in ("starts", "ends")}
    strength, no_strength = _numbers(rows["strength"])
    refuse(ids["item_id"] == "", "no item_id", "item_id")
    refuse(
        ids["user_id"].str.len() > LIMITS["item_id"],
        f"user_id is longer than {LIMITS['item_id']} characters",
        "user_id",
    )
    refuse(~ids["item_id"].isin(set(item_ids)), "no item has this item_id", "item_id")
    refuse(~kind.isin(["promotion", "coupon"]), "kind is neither promotion nor coupon", "kind")
    for name, seconds in times.items():
        refuse(seconds.isna(), f"{name} cannot be read", name)
    refuse(~(times["ends"] > times["starts"]), "ends is not after starts", "ends")
    refuse(~no_strength & ~strength.between(0, 1), "strength is not a number from 0 to 1", "strength")
    for at in reason.index[reason != ""]:
        value = _short(rows.at[at, column[at]])
        rejected.append(Rejected(file=path.name, line=numbers[at], reason=reason[at], value=value))
    rejected.sort(key=lambda row: row.line)
    if not (reason == "").any():
        raise _nothing(path, rejected, wanted=_OFFER_WANTED)
    # A coupon is had or not: how many stores take it is no part of it.
    shares = strength.where(~no_strength & (kind == "promotion"), 1.0)
    held: dict[tuple[str, float, float, str, str], tuple[list[str], list[float]]] = {}
    for at in reason.index[reason == ""]:
        note = clean_text(str(rows.at[at, "note"]), limit=LIMITS["note"])
        key = (str(kind[at]), float(times["starts"][at]), float(times["ends"][at]), str(ids["user_id"][at]), note)
        names, strengths = held.setdefault(key, ([], []))
        names.append(str(ids["item_id"][at]))
        strengths.append(float(shares[at]))
    return [
        Offer(
            kind="coupon" if kind_ == "coupon" else "promotion",
            starts=starts,
            ends=ends,
            item_ids=names,
            strengths=strengths,
            user_ids=(user_id,) if user_id else (),
            note=note,
        )
        for (kind_, starts, ends, user_id, note), (names, strengths) in held.items()
    ], rejected


def write_files(source: Source, folder: Path | str) -> tuple[Path, Path]:
    """Write a source as `items.jsonl` and `interactions.csv` into a folder; returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    items, interactions = folder / "items.jsonl", folder / "interactions.csv"
    with items.open("w", encoding="utf-8") as out:
        for item in source.items:
            record = {
                "item_id": item.item_id,
                "title": item.title,
                "description": item.description,
                "categories": list(item.categories),
                "brand": item.brand,
                "price": item.price,
                "attributes": {name: list(v) if isinstance(v, tuple) else v for name, v in item.attributes.items()},
                "image_url": item.image_url,
            }
            kept = {name: value for name, value in record.items() if value not in ("", None, [], {})}
            out.write(json.dumps(kept, ensure_ascii=False) + "\n")
    source.interactions.to_csv(interactions, index=False, columns=list(COLUMNS))
    return items, interactions


def write_rejected(rejected: Sequence[Rejected], path: Path | str) -> None:
    """Write what was refused, one JSON object a line: file, line, reason, value."""
    with Path(path).open("w", encoding="utf-8") as out:
        for row in rejected:
            record = {"file": row.file, "line": row.line, "reason": row.reason, "value": row.value}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def clean_text(value: str, *, limit: int) -> str:
    r"""Make text safe to keep and show: NFC, no control or direction-changing characters, one blank between words.

    >>> clean_text("  Cafe\u0301\n\x00 au\u202e lait ", limit=10)
    'Café au la'
    """
    text = unicodedata.normalize("NFC", value.encode("utf-8", "replace").decode("utf-8"))
    text = re.sub(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]", "", text)
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\s]+", " ", text).strip()
    return text[:limit].rstrip()


def _item(record: Any) -> tuple[Item | None, str]:
    """Make an item of a JSON value, or say why not."""
    if not isinstance(record, dict):
        return None, "not a JSON object"
    item_id, title = _scalar(record.get("item_id")), _scalar(record.get("title"))
    if not item_id:
        return None, "no item_id"
    if len(item_id) > LIMITS["item_id"]:
        return None, f"item_id is longer than {LIMITS['item_id']} characters"
    if not title:
        return None, "no title"
    for name in ("description", "brand", "image_url"):
        if not isinstance(record.get(name) or "", str):
            return None, f"{name} is not a string"
    categories = record.get("categories") or []
    if isinstance(categories, str):
        categories = [categories]
    if not isinstance(categories, list) or not all(isinstance(name, str) for name in categories):
        return None, "categories is not a list of strings"
    price = record.get("price")
    if price is not None:
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
            return None, "price is negative or not a number"
        price = float(price)
    attributes = _attributes(record.get("attributes") or {})
    if attributes is None:
        return None, "attributes is not an object of strings, numbers and lists of strings"
    url = clean_text(record.get("image_url") or "", limit=LIMITS["url"] + 1)
    named = (clean_text(name, limit=LIMITS["category"]) for name in categories[:MOST_CATEGORIES])
    item = Item(
        item_id=item_id,
        title=title[: LIMITS["title"]].rstrip(),
        description=clean_text(record.get("description") or "", limit=LIMITS["description"]),
        categories=tuple(name for name in named if name),
        brand=clean_text(record.get("brand") or "", limit=LIMITS["brand"]),
        price=price,
        attributes=attributes,
        # Anything but a web address could run when it is clicked or read a file of the machine; the item stays.
        image_url=url if url.lower().startswith(("https://", "http://")) and len(url) <= LIMITS["url"] else "",
    )
    return item, ""


def _attributes(given: Any) -> dict[str, AttributeValue] | None:
    if not isinstance(given, dict):
        return None
    out: dict[str, AttributeValue] = {}
    for name, value in list(given.items())[:MOST_ATTRIBUTES]:
        name = clean_text(str(name), limit=LIMITS["category"])
        if value is None or not name:
            continue
        if isinstance(value, bool):
            out[name] = "yes" if value else "no"
        elif isinstance(value, str):
            out[name] = clean_text(value, limit=LIMITS["attribute"])
        elif isinstance(value, int | float) and math.isfinite(value):
            out[name] = float(value)
        elif isinstance(value, list) and all(isinstance(one, str) for one in value):
            out[name] = tuple(clean_text(one, limit=LIMITS["attribute"]) for one in value[:MOST_ATTRIBUTES])
        else:
            return None
    return out


def _scalar(value: Any) -> str:
    """Read an id or a title: a string, or a whole number that somebody did not quote."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return clean_text(str(value), limit=10_000)


def _csv_columns(
    path: Path, *, columns: Sequence[str] = COLUMNS, needed: Sequence[str] = NEEDED
) -> tuple[dict[str, list[Any]], list[int], list[Rejected]]:
    rejected: list[Rejected] = []
    numbers: list[int] = []
    with _opened(path) as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, [])]
        missing = [name for name in needed if name not in header]
        if missing:
            raise ShopError(
                f"{path}, line 1: the header has no {', '.join(missing)} (it reads: {_short(', '.join(header))}). "
                f"Expected comma-separated columns: {', '.join(columns)}; "
                f"{', '.join(name for name in columns if name not in needed)} may be left out."
            )
        wanted = [(name, header.index(name)) for name in columns if name in header]
        held: dict[str, list[Any]] = {name: [] for name, _ in wanted}
        while True:
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                rejected.append(Rejected(file=path.name, line=reader.line_num, reason="not CSV", value=str(error)))
                continue
            if not row:
                continue
            if len(row) != len(header):
                why = f"{len(header)} columns expected"
                rejected.append(Rejected(file=path.name, line=reader.line_num, reason=why, value=_short(",".join(row))))
                continue
            numbers.append(reader.line_num)
            for name, at in wanted:
                held[name].append(row[at])
    return held, numbers, rejected


def _jsonl_columns(
    path: Path, *, columns: Sequence[str] = COLUMNS, needed: Sequence[str] = NEEDED
) -> tuple[dict[str, list[Any]], list[int], list[Rejected]]:
    held: dict[str, list[Any]] = {name: [] for name in columns}  # what is `needed` is asked for row by row
    numbers: list[int] = []
    rejected: list[Rejected] = []
    for line, record, problem in _json_lines(path):
        if not problem and not isinstance(record, dict):
            problem = "not a JSON object"
        if problem:
            rejected.append(Rejected(file=path.name, line=line, reason=problem, value=_short(record)))
            continue
        numbers.append(line)
        for name in columns:
            value = record.get(name)
            if isinstance(value, float) and math.isnan(value):
                value = "NaN"  # a number that is none, as in a CSV; what is missing is null
            held[name].append(value if isinstance(value, str | int | float) and not isinstance(value, bool) else None)
    return held, numbers, rejected


def _parquet_columns(path: Path) -> tuple[dict[str, list[Any]], list[int], list[Rejected]]:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    _present(path)
    try:
        has = [name for name in pq.read_schema(path).names if name in COLUMNS]
        missing = [name for name in ("user_id", "item_id", "timestamp") if name not in has]
        if missing:
            raise ShopError(f"{path} has no column {', '.join(missing)}. Expected columns: {', '.join(COLUMNS)}.")
        frame = pd.read_parquet(path, columns=has)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ShopError(f"{path} cannot be read as Parquet ({_short(str(error))}). Write it again.") from error
    for name in frame.columns:
        if pd.api.types.is_datetime64_any_dtype(frame[name]):
            frame[name] = frame[name].astype("datetime64[us]" if frame[name].dt.tz is None else "datetime64[us, UTC]")
            frame[name] = frame[name].map(lambda moment: "" if pd.isna(moment) else moment.isoformat())
        elif pd.api.types.is_float_dtype(frame[name]) and name.endswith("_id"):
            frame[name] = frame[name].map(lambda number: "" if pd.isna(number) else f"{number:g}")
    # A missing number is a missing value here: Parquet has both null and NaN, and writers mix them.
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame.columns}
    return columns, list(range(1, len(frame) + 1)), []


def _json_lines(path: Path) -> Iterator[tuple[int, Any, str]]:
    """Yield (line number, value, problem) for every line that is not blank."""
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                yield number, json.loads(line), ""
            except (ValueError, RecursionError):
                yield number, line, "not JSON"


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    """Open a text file, gunzipping where its name says so, and turn what can go wrong into words."""
    _present(path)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            yield file  # type: ignore[misc]
    except UnicodeDecodeError as error:
        raise ShopError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ShopError(f"{path} is no whole gzip file ({error}). Compress it again, or drop the .gz.") from error
    except OSError as error:
        raise ShopError(f"{path} cannot be read: {error.strerror or error}.") from error


def _present(path: Path) -> None:
    if not path.exists():
        raise ShopError(f"There is no file {path}. Check the path.")
    if path.is_dir():
        raise ShopError(f"{path} is a folder; a file was expected.")


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"] and suffixes[-2:-1] in ([".csv"], [".jsonl"]):
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def _ids(values: pd.Series) -> pd.Series:
    """Clean ids as text, each distinct one once."""
    import pandas as pd

    codes, distinct = pd.factorize(values)
    text = [clean_text(str(value), limit=10_000) for value in distinct]
    return pd.Series(pd.array(text, dtype="str").take(codes), index=values.index)


def _seconds(values: pd.Series) -> pd.Series:
    """Read timestamps as seconds since 1970, NaN where they cannot be read; a moment without a zone is UTC."""
    import pandas as pd

    text = values.astype(str).str.strip()
    seconds = pd.to_numeric(text, errors="coerce").astype(float)
    words = seconds.isna() & (text != "")
    if words.any():
        moments = pd.to_datetime(text[words], format="ISO8601", utc=True, errors="coerce")
        # In microseconds, as nanoseconds end in the year 2262.
        counted = (moments.dt.as_unit("us") - pd.Timestamp(0, tz="UTC").as_unit("us")).dt.total_seconds()
        # "nan" and "inf" are numbers to pandas and dates to nobody.
        seconds[words] = counted.where(text[words].str[:1].str.isdigit())
    return seconds.where((seconds >= 0) & (seconds < LATEST_TIMESTAMP))


def _numbers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Read numbers (NaN where they are none) and say where nothing was given."""
    import pandas as pd

    text = values.astype(str).str.strip()
    numbers = pd.to_numeric(text.where(text != "", "0"), errors="coerce").astype(float)
    numbers = numbers.where(numbers.abs() < math.inf)
    return numbers.where(text != ""), text == ""


def _frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    import pandas as pd

    numeric = {"timestamp", "quantity", "price"}
    return pd.DataFrame(
        {name: pd.Series(columns.get(name, []), dtype=float if name in numeric else "str") for name in COLUMNS}
    )


def _nothing(path: Path, rejected: Sequence[Rejected], *, wanted: str) -> ShopError:
    if not rejected:
        return ShopError(f"{path} is empty. Expected {wanted}.")
    first = rejected[0]
    return ShopError(
        f"Nothing in {path} can be used. First problem, line {first.line}: {first.reason} ({_short(first.value, 80)}). "
        f"Expected {wanted}."
    )


def _by_reason(rejected: Sequence[Rejected]) -> dict[str, int]:
    return dict(Counter(row.reason for row in rejected).most_common())


def _short(value: Any, limit: int = 200) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = clean_text(text[: limit * 4], limit=limit + 1)
    return text if len(text) <= limit else text[: limit - 1] + "…"
