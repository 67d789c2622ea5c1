"""Which fields train, which validate, which test: by field or by well, never by crop, and written down."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from focuslab.errors import ModelError, RequestError
from focuslab.files import drafted
from focuslab.models.zoo import bundled_cards
from focuslab_training.sections import SplitRule

__all__ = ["NUMBERED", "SPLIT_FILE", "Split", "split_names"]

SPLIT_FILE = "split.json"
NUMBERED = "//"  # before the number of one of several fields of a file; no path has it
_FIELD = re.compile(r"(?P<stem>.*?)(//\d+)?(\[(?P<first>[\d.]+):(?P<last>[\d.]+)\])?")


@dataclass(frozen=True, slots=True)
class Split:
    """Names of the fields of each part, sorted, and of those that the model to start from had been trained on."""

    train: tuple[str, ...]
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def has_trained(self, name: str, unit: str) -> bool:
        """Whether a field of that name, or anything else of its image or file, was trained on, ever."""
        if name in (*self.validation, *self.test):
            return False
        trained = _by_image((*self.train, *self.before))
        stem, _ = _columns(name)
        alike = {other: parts for other, parts in trained.items() if _same_file(other, stem) or _same_file(other, unit)}
        return any(
            _overlaps(name, {stem: parts}) or (_same_file(other, unit) and (0.0, 1.0) in parts)
            for other, parts in alike.items()
        )

    def write(self, folder: Path) -> None:
        """Write `split.json` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with drafted(folder / SPLIT_FILE) as draft:
            draft.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def of_model(cls, name_or_path: str) -> "Split | None":
        """Split of a model as it is called: of a bundled one there is none, of another it lies in its folder."""
        path = Path(name_or_path)
        return None if name_or_path in bundled_cards() else cls.of(path.parent if path.is_file() else path)

    @classmethod
    def of(cls, folder: Path) -> "Split | None":
        """Split that was written into a folder, None if there is none.

        Raises
        ------
        ModelError
            If it cannot be understood.
        """
        path = folder / SPLIT_FILE
        if not path.is_file():
            return None
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{part: tuple(names) for part, names in said.items()})
        except (ValueError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{path} does not say which fields were trained on ({error}): bring it back whole, or train anew."
            ) from error


def split_names(groups: Mapping[str, str], rule: SplitRule, seed: int = 0, seen: Collection[str] = ()) -> Split:
    """Split fields at random.

    Parameters
    ----------
    groups
        What stays together of every field (its image, its file, its well), by name.
    rule
        Shares; with a share above 0 a part has at least one group.
    seed
        The same seed gives the same split.
    seen
        Names that the model to start from was trained on: they, and what stays together with them, train again.

    Raises
    ------
    RequestError
        If there are too few groups for an honest split.
    """
    units = sorted(set(groups.values()))
    shares = {"test": rule.test, "validation": rule.validation}
    counts = {part: max(round(share * len(units)), 1) if share > 0 else 0 for part, share in shares.items()}
    before = _by_image(seen)
    trained = {group for name, group in groups.items() if _overlaps(name, before)}
    if sum(counts.values()) > len(units) - len(trained) and trained:
        raise RequestError(
            f"The model to start from was trained on {len(trained)} of these {len(units)} {rule.by}s: too few are left "
            "that it has not seen. Give more fields, or train without (--no-validation)."
        )
    if len(units) <= sum(counts.values()):
        raise RequestError(
            f"{len(units)} {rule.by}{'s' if len(units) != 1 else ''} cannot be split: training and validation need "
            "one each at least, and crops of one field on both sides would flatter the model. Give more fields, or "
            "train without (--no-validation)."
        )
    order = [units[i] for i in np.random.default_rng(seed).permutation(len(units)) if units[i] not in trained]
    test, validation = set(order[: counts["test"]]), set(order[counts["test"] :][: counts["validation"]])

    def names(chosen: set[str]) -> tuple[str, ...]:
        return tuple(sorted(name for name in groups if groups[name] in chosen))

    return Split(names(set(units) - test - validation), names(validation), names(test), tuple(sorted(seen)))


def _same_file(a: str, b: str) -> bool:
    """Whether two paths may be of one file, seen from different folders: the shorter is the end of the longer."""
    return f"/{a}".endswith(f"/{b}") or f"/{b}".endswith(f"/{a}")


def _columns(name: str) -> tuple[str, tuple[float, float]]:
    """Name of an image, and the part of its width that a field is (``name[0:0.5]``).

    Stacks that are simulated from one image (``name//3``) are that image: its number changes with what lies beside.
    """
    found = _FIELD.fullmatch(name)
    if found is None:
        return name, (0.0, 1.0)
    return found["stem"], (float(found["first"] or 0), float(found["last"] or 1))


def _by_image(names: Collection[str]) -> dict[str, set[tuple[float, float]]]:
    """Parts of the width of each image."""
    parts: dict[str, set[tuple[float, float]]] = {}
    for stem, part in map(_columns, names):
        parts.setdefault(stem, set()).add(part)
    return parts


def _overlaps(name: str, parts: Mapping[str, Collection[tuple[float, float]]]) -> bool:
    """Whether a field has pixels in common with any of the parts of its image."""
    stem, (first, last) = _columns(name)
    return any(first < stop and start < last for start, stop in parts.get(stem, ()))
