from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from fastvoicegrad import InputError  # noqa: E402
from fastvoicegrad.mel import MEL, log_mel  # noqa: E402
from fastvoicegrad.training.data.teachers import whisper_encoder  # noqa: E402
from fastvoicegrad.training.models.content import ContentConfig, ContentEncoder  # noqa: E402
from fastvoicegrad.training.whisper import NAMES, mel_map, start_from_whisper  # noqa: E402
from tests.training.tasks.tiny_runs import trainer  # noqa: E402

WIDTH, HEADS = 24, 2


class Block(nn.Module):
    """A block of Whisper's encoder, by its names."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.n_head = HEADS
        for name in ("query", "key", "value", "out"):
            setattr(self.attn, name, nn.Linear(WIDTH, WIDTH, bias=name != "key"))
        self.attn_ln, self.mlp_ln = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.attn_ln(x)
        q, k, v = (
            f(y).unflatten(2, (HEADS, -1)).transpose(1, 2) for f in (self.attn.query, self.attn.key, self.attn.value)
        )
        x = x + self.attn.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """Whisper's encoder in small. The embeddings of all places are equal, as after the start."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MEL.n_mels, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.positional_embedding = torch.randn(WIDTH).expand(1500, -1)


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """Stands in for the package `whisper`. Its mel depends on the length of a recording alone."""
    torch.manual_seed(0)
    encoder = Encoder().requires_grad_(False)

    def mel(wave: torch.Tensor) -> torch.Tensor:
        from fastvoicegrad.training.data.teachers import TEACHER_RATE

        frames = len(wave) * 100 // TEACHER_RATE
        place = torch.linspace(0, 3, frames)
        return torch.stack([torch.sin(place + i) for i in range(MEL.n_mels)])

    package = SimpleNamespace(load_model=lambda *_, **__: SimpleNamespace(encoder=encoder), log_mel_spectrogram=mel)
    monkeypatch.setitem(sys.modules, "whisper", package)
    return encoder


def waves() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(0.1 * random.normal(size=MEL.sample_rate)).astype(np.float32) for _ in range(3)]


def test_blocks_are_those_of_the_teacher(teacher: Encoder) -> None:
    encoder = ContentEncoder(ContentConfig(width=WIDTH, layers=2, heads=HEADS)).requires_grad_(False)
    start_from_whisper(encoder, "tiny.en", waves())
    x = torch.randn(1, 30, WIDTH)
    for block, of in zip(encoder.blocks, teacher.blocks, strict=False):
        block.attention.level.zero_()
        torch.testing.assert_close(block(x), of(x))
    assert all(name in dict(encoder.blocks[0].named_modules()) for name in NAMES)


def test_biases_follow_the_teachers_logits_where_places_matter(teacher: Encoder) -> None:
    """The teacher attends to near frames only through its places; the bias has to carry this."""
    angle = torch.arange(1500)[:, None] * torch.linspace(0.05, 0.5, WIDTH // 2)
    teacher.positional_embedding = torch.cat([angle.sin(), angle.cos()], 1) * 3
    for block in teacher.blocks:
        for part in (block.attn.query, block.attn.key):
            part.weight.copy_(torch.eye(WIDTH))
    encoder = ContentEncoder(ContentConfig(width=WIDTH, layers=1, heads=HEADS)).requires_grad_(False)
    start_from_whisper(encoder, "tiny.en", waves())
    level = encoder.blocks[0].attention.level
    middle = level.shape[1] // 2
    assert (level.argmax(1) - middle).abs().max() <= 1
    assert (level[:, middle] > level[:, [0, -1]].amax(1) + 1).all()


def test_first_convolutions_are_the_teachers_behind_the_map(teacher: Encoder) -> None:
    encoder = ContentEncoder(ContentConfig(width=WIDTH, layers=1, heads=HEADS)).requires_grad_(False)
    given = waves()
    encoder.norm.fit(torch.from_numpy(np.concatenate([log_mel(w) for w in given], 1).T))
    start_from_whisper(encoder, "tiny.en", given)
    mels = [encoder.norm(torch.from_numpy(log_mel(w))) for w in given]
    own = [sys.modules["whisper"].log_mel_spectrogram(torch.zeros(16000)) for _ in given]
    maps = mel_map(mels, own)
    x = torch.randn(1, MEL.n_mels, 40)
    mapped = sum(F.conv1d(F.pad(x, (1, 1)), maps[j, :, :-1, None])[..., j : j + 40] for j in range(3))
    mapped = mapped + maps[:, :, -1].sum(0)[:, None]
    expected = F.gelu(teacher.conv2(F.gelu(teacher.conv1(mapped)))) + teacher.positional_embedding[:1].T
    torch.testing.assert_close(encoder.stem(x)[..., 2:-2], expected[..., 2:-2], atol=1e-4, rtol=1e-3)


def test_an_affine_mel_is_nearly_its_map() -> None:
    """Interpolation between the frames of either mel costs the rest."""
    torch.manual_seed(0)
    mel = torch.randn(80, 2000)
    step = MEL.hop_length / MEL.sample_rate / 0.01  # frames of the other mel in one of this
    truth = torch.randn(3, 80, 80)
    x = F.pad(mel, (1, 1))
    wanted = sum(truth[j] @ x[:, j : j + 2000] for j in range(3)) + 0.5
    place = (torch.arange(int(2000 * step)) / step - 0.5).clamp(0, 1999)
    other = torch.lerp(wanted[:, place.long()], wanted[:, (place.long() + 1).clamp(max=1999)], place - place.long())
    maps = mel_map([mel], [other])
    residual = sum(maps[j, :, :-1] @ x[:, j : j + 2000] for j in range(3)) + maps[:, :, -1].sum(0)[:, None] - wanted
    assert residual.square().mean() < 0.15 * wanted.var()


def test_training_starts_from_the_teacher(teacher: Encoder, store: Path, tmp_path: Path) -> None:
    model = (f"model.width={WIDTH}", "model.layers=2", f"model.heads={HEADS}")
    task = trainer(store, tmp_path, "content", "whisper=tiny.en", *model).task
    block = task.modules["content"].encoder.blocks[1]
    assert torch.equal(block.expand.weight, teacher.blocks[1].mlp[0].weight)
    with pytest.raises(InputError, match=r"model\.heads"):
        trainer(store, tmp_path, "content", "whisper=tiny.en")
    with pytest.raises(InputError, match=rf"model\.width={WIDTH} and model\.heads={HEADS}"):
        trainer(store, tmp_path, "content", "whisper=tiny.en", "model.width=16", f"model.heads={HEADS}")
    with pytest.raises(InputError, match="3 blocks; set model.layers"):
        trainer(store, tmp_path, "content", "whisper=tiny.en", *model, "model.layers=4")


def test_missing_package_and_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load_model(*_: object, **__: object) -> None:
        raise RuntimeError("Model x.pt not found")

    monkeypatch.setitem(sys.modules, "whisper", SimpleNamespace(load_model=load_model))
    with pytest.raises(InputError, match=r"x\.pt cannot be read"):
        whisper_encoder("x.pt")
    monkeypatch.setattr(sys.modules["whisper"], "load_model", lambda *_, **__: torch.load(tmp_path / "x.pt"))
    (tmp_path / "x.pt").touch()
    with pytest.raises(InputError, match=r"x\.pt cannot be read"):
        whisper_encoder(str(tmp_path / "x.pt"))
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(InputError, match="pip install --no-deps openai-whisper"):
        whisper_encoder("x.pt")
