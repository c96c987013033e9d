"""A profile says what a card is for without any text, and counts like examples."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import pytest

from router.cards.catalog import Catalog
from router.cards.schema import Card
from router.errors import ArtifactError
from router.loading import load_predictor
from router.perceive.ability.evidence import ProbeOutcome
from router.perceive.predictor import Evidence
from router.perceive.purpose.profile import Profile, with_outcomes
from router.perceive.purpose.profile_file import (
    StoredProfile,
    file_name,
    load_profiles,
    read_profile,
    write_profile,
)
from router.settings import shipped_artifact_folder
from router.store.records.snapshots import catalogue_snapshot, read_catalogue
from router.types import Doubles
from tests.perceive.purpose.tasks import BASE, GENERIC, TASKS, adapter, adapters, prompts

PREDICTOR = load_predictor(shipped_artifact_folder())
SPACE = PREDICTOR.purpose_space
ASKED = (*(prompts(task)[8] for task in TASKS), *GENERIC)
VECTORS = PREDICTOR.vectors([(text,) for text in ASKED])


def profile(texts: list[str]) -> Profile:
    return Profile.of(SPACE, [SPACE.points_of([(text,) for text in texts])])


def evidence(**profiles: Profile) -> dict[str, Evidence]:
    return PREDICTOR.evidence_of({}, {card: StoredProfile(of, "") for card, of in profiles.items()})


def forecasts(cards: list[Card], known: dict[str, Evidence]) -> dict[str, Doubles]:
    catalog = Catalog([BASE, *cards])
    return dict(zip(catalog.ids, PREDICTOR.bind(catalog, known).qualities(VECTORS).T, strict=True))


def outcomes(texts: list[str], *scores: float) -> tuple[ProbeOutcome, ...]:
    return tuple(
        ProbeOutcome(
            probe=str(at),
            domain="sql",
            prompt=text,
            grader="text",
            score=score,
            answer="",
            model="m",
            time="",
            latency_ms=1.0,
        )
        for at, (text, score) in enumerate(zip(texts, scores, strict=True))
    )


SQL = prompts("sql")
ALL = forecasts(adapters(), {})


def test_a_profile_counts_like_examples_of_the_same_texts() -> None:
    of_profile = forecasts([adapter("sql", shown=0)], evidence(sql=profile(SQL[:5])))["sql"]
    assert of_profile == pytest.approx(ALL["sql"], abs=2e-6)


def test_examples_and_a_profile_count_together() -> None:
    split = forecasts([adapter("sql", shown=2)], evidence(sql=profile(SQL[2:5])))["sql"]
    assert split == pytest.approx(ALL["sql"], abs=2e-6)


def test_a_profile_moves_the_forecast_of_no_other_card() -> None:
    others = [adapter(task) for task in TASKS if task != "sql"]
    made = profile(SQL[:5])
    edited = profile(SQL[:9])
    for known in ({}, evidence(sql=made), evidence(sql=edited), evidence(sql=made, haiku=profile(prompts("haiku")))):
        found = forecasts([*others, adapter("sql", shown=0)], known)
        for task in TASKS:
            if task not in known and task != "sql":
                assert found[task].tobytes() == ALL[task].tobytes()
        assert found[BASE.id].tobytes() == ALL[BASE.id].tobytes()


def test_no_text_is_in_the_file(tmp_path: Path) -> None:
    card = adapter("sql")
    made = profile(list(card.examples))
    known = PREDICTOR.evidence_of({"sql": outcomes(SQL[5:8], 1.0, 0.0, 1.0)})["sql"]
    write_profile(tmp_path / "sql.npz", with_outcomes(made, PREDICTOR.reader_id, known.vectors, known.scores))
    raw = (tmp_path / "sql.npz").read_bytes()
    for text in SQL:
        words = [word for word in text.split() if len(word) > 3]
        assert words
        assert not any(word.encode(coding) in raw for word in words for coding in ("utf-8", "utf-16-le"))


def test_a_profile_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    made = profile(SQL)
    write_profile(tmp_path / file_name("org/sql"), made)
    ((card, stored),) = load_profiles(tmp_path).items()
    assert card == "org/sql"
    assert stored.profile.count == len(SQL)
    assert stored.profile.mean.tobytes() == made.mean.tobytes()
    np.testing.assert_allclose(stored.profile.scatter(), made.scatter(), rtol=1e-6)


def test_the_scatter_is_that_of_the_points() -> None:
    points = SPACE.points_of([(text,) for text in SQL])
    scatter = Profile.of(SPACE, [points[:3], points[3:]]).scatter()
    np.testing.assert_allclose(scatter, np.cov(points.T, bias=True), rtol=0, atol=1e-7)


def test_two_profiles_joined_are_that_of_all_texts() -> None:
    joined, whole = profile(SQL[:4]).joined(profile(SQL[4:])), profile(SQL)
    assert joined.count == whole.count
    assert joined.mean == pytest.approx(whole.mean, abs=1e-6)
    np.testing.assert_allclose(joined.scatter(), whole.scatter(), rtol=0, atol=1e-6)


def test_published_outcomes_count_as_the_probes_themselves_do() -> None:
    probed = {"sql": outcomes(SQL[:6], 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)}
    of_owner = PREDICTOR.evidence_of(probed)
    published = with_outcomes(profile([]), PREDICTOR.reader_id, of_owner["sql"].vectors, of_owner["sql"].scores)
    cards = [adapter("sql", shown=0), adapter("haiku")]
    here = evidence(sql=published)
    assert {card: of.tobytes() for card, of in forecasts(cards, here).items()} == {
        card: of.tobytes() for card, of in forecasts(cards, of_owner).items()
    }


def test_a_profile_survives_the_snapshot_of_a_decision() -> None:
    cards = Catalog([BASE, adapter("sql", shown=0)])
    known = evidence(sql=profile(SQL[:5]))
    read = read_catalogue(catalogue_snapshot(cards, known).content)
    before, after = (PREDICTOR.bind(cards, of).qualities(VECTORS) for of in (known, read.evidence))
    assert before.tobytes() == after.tobytes()


def test_a_probe_that_was_published_and_is_in_the_evidence_counts_once() -> None:
    probed = {"sql": outcomes(SQL[:3], 1.0, 0.0, 1.0)}
    known = PREDICTOR.evidence_of(probed)["sql"]
    published = with_outcomes(profile([]), PREDICTOR.reader_id, known.vectors, known.scores)
    both = PREDICTOR.evidence_of(probed, {"sql": StoredProfile(published, "")})["sql"]
    assert len(both.scores) == 3


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"mean": np.full(SPACE.width, np.nan, dtype=np.float32)}, "mean has numbers that are not finite"),
        ({"mean": np.full(SPACE.width, 7, dtype=np.float32)}, "the numbers of its mean or scatter are too great"),
        ({"rest": np.zeros(3, dtype=np.float32)}, "rest has the shape"),
        ({"count": 0}, "it is of no prompts and has no outcomes"),
        ({"scores": np.array([2.0]), "vectors": np.zeros((1, 5), dtype=np.float32)}, "a score is not between 0 and 1"),
    ],
    ids=["not finite", "too great", "another shape", "empty", "no score"],
)
def test_numbers_that_are_those_of_no_prompts_are_refused(
    tmp_path: Path, change: dict[str, object], problem: str
) -> None:
    write_profile(tmp_path / "a.npz", msgspec.structs.replace(profile(SQL), **change))
    with pytest.raises(ArtifactError, match=f"a.npz: is damaged: {problem}"):
        load_profiles(tmp_path)


def test_a_file_that_is_no_profile_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"not an archive")
    with pytest.raises(ArtifactError, match=r"a\.npz: is no profile of a card"):
        load_profiles(tmp_path)


def test_an_array_of_objects_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    write_profile(tmp_path / "a.npz", profile(SQL))
    harmful = io.BytesIO()
    np.save(harmful, np.array([{}], dtype=object), allow_pickle=True)
    _replace(tmp_path / "a.npz", "mean.npy", harmful.getvalue())
    with pytest.raises(ArtifactError, match="is no profile of a card"):
        read_profile(tmp_path / "a.npz")


def test_compressed_arrays_are_refused(tmp_path: Path) -> None:
    write_profile(tmp_path / "a.npz", profile(SQL))
    _replace(tmp_path / "a.npz", "", b"", zipfile.ZIP_DEFLATED)
    with pytest.raises(ArtifactError, match="its arrays are compressed"):
        read_profile(tmp_path / "a.npz")


def test_a_profile_of_another_encoder_is_refused() -> None:
    with pytest.raises(ArtifactError, match="was made with another encoder; make it again from the texts"):
        evidence(sql=msgspec.structs.replace(profile(SQL), space="0" * 16))


def test_outcomes_that_another_predictor_has_read_are_refused() -> None:
    foreign = with_outcomes(profile(SQL), "another", VECTORS[:1], np.ones(1))
    with pytest.raises(ArtifactError, match="its outcomes were read by another predictor"):
        evidence(sql=foreign)


def _replace(file: Path, name: str, content: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entries |= {name: content} if name else {}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for entry, of_entry in entries.items():
            archive.writestr(entry, of_entry)
