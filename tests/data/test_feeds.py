"""Feeds: what fits is read in order and converted without loss; what does not is refused with its place."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from trtconv.core.errors import UsageError
from trtconv.core.records import FeedSpec, TensorInfo
from trtconv.data.feeds import open_feed

IMAGE = TensorInfo("image", "float", ("batch", 2, 3))


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)


def save(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


def read(spec: FeedSpec, *inputs: TensorInfo, size: int = 3, seed: int | None = None) -> dict[str, np.ndarray]:
    batches = list(open_feed(spec, inputs).batches(size, seed))
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def test_batches_come_in_order_and_the_last_is_partial(tmp_path: Path, images: np.ndarray) -> None:
    feed = open_feed(FeedSpec(save(tmp_path / "x.npz", image=images)), (IMAGE,))
    batches = [batch["image"] for batch in feed.batches(3)]
    assert len(feed) == 7
    assert [len(batch) for batch in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(batches), images)


def test_samples_limits_and_a_seed_draws(tmp_path: Path, images: np.ndarray) -> None:
    spec = FeedSpec(save(tmp_path / "x.npz", image=images), samples=4)
    np.testing.assert_array_equal(read(spec, IMAGE)["image"], images[:4])
    drawn = read(spec, IMAGE, seed=1)["image"]
    rows = [int(np.flatnonzero((images == sample).all(axis=(1, 2)))[0]) for sample in drawn]
    assert rows == sorted(set(rows))
    assert len(rows) == 4
    assert rows != [0, 1, 2, 3]
    np.testing.assert_array_equal(read(spec, IMAGE, seed=1)["image"], drawn)


LARGE = TensorInfo("x", "float", ("batch", 3, 300, 457))  # 1.6 MB: several blocks, the last of them short


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (1, 2, 299, 456), (4, 0, 100, 3)])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_bad_value_of_large_samples_is_found(tmp_path: Path, place: tuple[int, ...], wrong: float) -> None:
    values = np.random.default_rng(0).standard_normal((5, 3, 300, 457)).astype(np.float32)
    np.save(tmp_path / "x.npy", values)
    spec = FeedSpec(tmp_path / "x.npy")
    np.testing.assert_array_equal(read(spec, LARGE)["x"], values)
    values[place] = wrong
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(UsageError, match=f"sample {place[0]} of input 'x' holds NaN"):
        read(spec, LARGE)


def test_a_large_file_that_ended_early_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((5, 3, 300, 457), np.float32))
    feed = open_feed(FeedSpec(path), (LARGE,))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 4)
    with pytest.raises(UsageError, match="truncated"):
        list(feed.batches(3))


def test_threads_that_ask_at_once_unpack_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).standard_normal((64, 3, 16, 16)).astype(np.float32)
    np.savez_compressed(tmp_path / "x.npz", x=values)
    feed = open_feed(FeedSpec(tmp_path / "x.npz"), (TensorInfo("x", "float", ("batch", 3, 16, 16)),))
    unpacked: list[Path] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **options: unpacked.append(path) or load(path, **options))
    arrays = [np.empty((8, 3, 16, 16), np.float32) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: feed.read(np.arange(number * 8, number * 8 + 8), {"x": arrays[number]}), range(8)))
    np.testing.assert_array_equal(np.concatenate(arrays), values)
    assert len(unpacked) == 1


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_folder_or_glob_of_single_samples_and_stacks(tmp_path: Path, images: np.ndarray, as_folder: bool) -> None:
    np.save(tmp_path / "a.npy", images[0])
    np.save(tmp_path / "b.npy", images[1:5])
    np.save(tmp_path / "c.npy", images[5])
    path = tmp_path if as_folder else tmp_path / "*.npy"
    np.testing.assert_array_equal(read(FeedSpec(path), IMAGE, size=2)["image"], images[:6])
    np.testing.assert_array_equal(read(FeedSpec(path, samples=3), IMAGE, size=2, seed=5)["image"].shape, (3, 2, 3))


def test_a_name_with_the_signs_of_globs(tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "a[1].npy", images[:2])
    np.save(tmp_path / "a1.npy", images[2:])
    np.testing.assert_array_equal(read(FeedSpec(tmp_path / "a[1].npy"), IMAGE)["image"], images[:2])
    (tmp_path / "a[1].npy").unlink()
    np.testing.assert_array_equal(read(FeedSpec(tmp_path / "a[1].npy"), IMAGE)["image"], images[2:])


def test_inputs_that_no_samples_fit(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "x.npz", image=images, word=np.array(["a"]), number=np.float32(1))
    assert "input 'word' is of type string" in refused(FeedSpec(path), TensorInfo("word", "string", ("n",))).message
    assert "shape [] does not fit input 'number'" in refused(FeedSpec(path), TensorInfo("number", "float", ())).message


@pytest.mark.parametrize("as_folder", [True, False])
def test_hidden_files_are_not_meant(tmp_path: Path, images: np.ndarray, as_folder: bool) -> None:
    np.save(tmp_path / "a.npy", images)
    (tmp_path / "._a.npy").write_bytes(b"what macOS leaves on other disks")
    assert len(read(FeedSpec(tmp_path if as_folder else tmp_path / "*.npy"), IMAGE)["image"]) == len(images)


def test_a_file_per_input(tmp_path: Path, images: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", images)
    np.save(tmp_path / "b.npy", np.arange(7))
    ids = TensorInfo("ids", "int64", ("batch",))
    got = read(FeedSpec(names={"image": tmp_path / "a.npy", "ids": tmp_path / "b.npy"}), IMAGE, ids)
    np.testing.assert_array_equal(got["ids"], np.arange(7))
    np.testing.assert_array_equal(got["image"], images)


@pytest.mark.parametrize(
    ("have", "want", "dtype"),
    [
        ("float64", "float", np.float32),
        ("float16", "float", np.float32),
        ("uint8", "float", np.float32),
        ("float32", "float16", np.float16),
        ("float32", "bfloat16", ml_dtypes.bfloat16),
        ("int64", "int32", np.int32),
        ("bool", "float", np.float32),
    ],
)
def test_types_are_converted_where_it_is_meant(tmp_path: Path, have: str, want: str, dtype: type) -> None:
    values = np.array([[0, 1], [1, 0], [1, 1]]).astype(have)
    got = read(FeedSpec(save(tmp_path / "x.npz", x=values)), TensorInfo("x", want, ("batch", 2)))["x"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got.astype(np.float32), values.astype(np.float32))


@pytest.mark.parametrize(
    ("values", "want", "says"),
    [
        (np.array([[0.5]]), "int32", "float64 values for input 'x', which takes int32"),
        (np.array([["a"]]), "float", "which takes float32"),
        (np.array([[2]]), "bool", "which takes bool"),
        (np.array([[300]]), "uint8", "cannot hold all"),
        (np.array([[2**24 + 1]]), "float", "cannot hold all"),
        (np.array([[1e6]], np.float32), "float16", "sample 0 of input 'x' holds NaN, infinity or a value"),
        (np.array([[1], [np.nan]], np.float32), "float", "sample 1 of input 'x' holds NaN"),
        (np.array([[np.inf]], np.float32), "float", "holds NaN, infinity"),
        (np.array([[-np.inf]], np.float32), "float", "holds NaN, infinity"),
        (np.array([[0.25], [-np.inf], [0.5]], np.float32), "float", "sample 1 of input 'x' holds NaN, infinity"),
    ],
)
def test_other_types_and_values_are_refused(tmp_path: Path, values: np.ndarray, want: str, says: str) -> None:
    path = save(tmp_path / "x.npz", x=values)
    with pytest.raises(UsageError) as caught:
        read(FeedSpec(path), TensorInfo("x", want, ("batch", 1)))
    assert says in caught.value.message
    assert f"{path}: array 'x'" in caught.value.message


def test_masks_of_minus_infinity_are_samples(tmp_path: Path) -> None:
    mask = np.where(np.tri(4, dtype=bool), np.float32(0), np.float32(-np.inf))
    path = save(tmp_path / "x.npz", mask=mask)
    np.testing.assert_array_equal(read(FeedSpec(path), TensorInfo("mask", "float", ("batch", 4)))["mask"], mask)


def test_labels(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "x.npz", image=images, labels=np.arange(7, dtype=np.uint8))
    np.save(tmp_path / "y.npy", np.arange(7.0)[:, None])
    for labels in ("labels", "y.npy"):
        feed = open_feed(FeedSpec(path, labels=labels, samples=5), (IMAGE,))
        np.testing.assert_array_equal(feed.labels(), np.arange(5))
        assert feed.labels().dtype == np.int64
    assert open_feed(FeedSpec(path), (IMAGE,)).labels() is None


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("label", "no array 'label' for the labels; it has image, labels, few, parts"),
        ("few", "expected [7]"),
        ("parts", "not whole numbers"),
        ("none.npy", "no such file with labels"),
    ],
)
def test_labels_that_do_not_fit(tmp_path: Path, images: np.ndarray, labels: str, says: str) -> None:
    path = save(tmp_path / "x.npz", image=images, labels=np.arange(7), few=np.arange(6), parts=np.arange(7) / 2)
    with pytest.raises(UsageError) as caught:
        open_feed(FeedSpec(path, labels=labels), (IMAGE,)).labels()
    assert says in caught.value.message


def refused(spec: FeedSpec, *inputs: TensorInfo) -> UsageError:
    with pytest.raises(UsageError) as caught:
        open_feed(spec, inputs)
    return caught.value


def test_missing_and_foreign_files(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "heldout.npz", imgae=images)
    error = refused(FeedSpec(path), IMAGE)
    assert "no array 'image'; it has imgae" in error.message
    assert "did you mean 'imgae'?" in error.hint
    error = refused(FeedSpec(tmp_path / "held_out.npz"), IMAGE)
    assert "no such file" in error.message
    assert error.hint == f"did you mean '{path}'?"
    foreign = tmp_path / "x.npz"
    foreign.write_bytes(b"\x89PNG\r\n\x1a\n")
    assert "it looks like a PNG image" in refused(FeedSpec(foreign), IMAGE).message
    cut = tmp_path / "cut.npz"
    cut.write_bytes(path.read_bytes()[:100])
    assert "truncated" in refused(FeedSpec(cut), IMAGE).message
    (tmp_path / "x.txt").touch()
    assert "kind of file" in refused(FeedSpec(tmp_path / "x.txt"), IMAGE).message
    assert "no file matches" in refused(FeedSpec(tmp_path / "q*.npy"), IMAGE).message


def test_shapes_that_do_not_fit(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "x.npz", image=images.reshape(7, 3, 2), ids=np.arange(6), none=images[:0])
    assert "shape [7, 3, 2] does not fit input 'image' of shape [batch, 2, 3]" in refused(FeedSpec(path), IMAGE).message
    read(FeedSpec(path), TensorInfo("image", "float", ("batch", "h", "w")))
    several = TensorInfo("image", "float", ("batch", 3, 2)), TensorInfo("ids", "int64", ("batch",))
    assert "different numbers of samples" in refused(FeedSpec(path), *several).message
    assert "no samples" in refused(FeedSpec(path), TensorInfo("none", "float", ("batch", 2, 3))).message
    np.save(tmp_path / "x.npy", images)
    assert "several inputs" in refused(FeedSpec(tmp_path / "x.npy"), *several).message


def test_a_fixed_batch_rules(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "x.npz", image=images)
    feed = open_feed(FeedSpec(path, samples=6), (TensorInfo("image", "float", (2, 2, 3)),))
    assert [len(batch["image"]) for batch in feed.batches(32)] == [2, 2, 2]
    feed = open_feed(FeedSpec(path), (TensorInfo("image", "float", (2, 2, 3)),))
    assert [len(rows) for rows in feed.groups(32)] == [2, 2, 2, 1]  # for who fills up the last one
    batches = list(feed.batches(32))
    assert [len(batch["image"]) for batch in batches] == [2, 2, 2, 2]  # the last one repeats its sample
    assert np.array_equal(batches[-1]["image"][0], batches[-1]["image"][1])
    made = {"y": np.arange(2), "other": np.arange(5)}
    assert {n: len(a) for n, a in feed.of_samples(made, np.array([6])).items()} == {"y": 1, "other": 5}


def test_the_digest_follows_content_and_choice(tmp_path: Path, images: np.ndarray) -> None:
    path = save(tmp_path / "x.npz", image=images)
    moved = tmp_path / "moved.npz"
    moved.write_bytes(path.read_bytes())
    digest = open_feed(FeedSpec(path), (IMAGE,)).digest()
    assert open_feed(FeedSpec(moved), (IMAGE,)).digest() == digest
    assert open_feed(FeedSpec(path, samples=3), (IMAGE,)).digest() != digest
    save(path, image=images + 1)
    assert open_feed(FeedSpec(path), (IMAGE,)).digest() != digest
