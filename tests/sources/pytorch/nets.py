"""Small networks, as a user would write them: ``module:function`` of tests."""

import torch
from torch import nn


class Keyed(nn.Module):
    """Two inputs; outputs in a dictionary within a dictionary."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, image, scale):
        hidden = nn.functional.silu(self.norm(self.conv(image))) * scale[:, None, None, None]
        features = hidden.mean((2, 3))
        parts = [hidden.amax((2, 3)), hidden.amin((2, 3))]
        return {"logits": self.head(features), "aux": {"features": features, "parts": parts}}


class Words(nn.Module):
    """Tokens and a mask through an encoder layer, with an argument that may be left out."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(100, 16)
        self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, tokens, mask, scale=None):
        made = self.layer(self.embedding(tokens), src_key_padding_mask=mask).sum(1)
        return made if scale is None else made * scale


class Masked(nn.Module):
    """Attention with a mask, of truth values or of numbers."""

    def forward(self, x, mask):
        return nn.functional.scaled_dot_product_attention(x, x, x, mask)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)

    def forward(self, image):
        return self.drop(self.norm(self.conv(image)))


class Steps(nn.Module):
    """A loop and a branch, for torch.jit.script."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, n: int = 3):
        for _ in range(n):
            x = self.layer(x)
            if bool(x.sum() > 0):
                x = x - 1
        return {"out": x, "again": x + 1}


class Branch(nn.Module):
    def forward(self, x):
        return x * 2 if x.sum() > 0 else x * 3


class Dropping(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x, 0.5)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


class Fixed(nn.Module):
    def forward(self, x):
        return x + torch.zeros(3, 1)


class Last(nn.Module):
    """Channels last; some of what it returns is no tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 5)

    def forward(self, image):
        return self.layer(image), None, 3, {"image": image + 1}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.LSTM(4, 8, batch_first=True)

    def forward(self, x):
        made, (hidden, cell) = self.layer(x)
        return {"all": made, "hidden": hidden, "cell": cell}


class Either(nn.Module):
    """A branch that stays one."""

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x * 3, (x,))


class Spectrum(nn.Module):
    def forward(self, x):
        return torch.fft.rfft(x)


class Odd(nn.Module):
    """The same tensor twice, its own input, a key that an input has, keywords only."""

    def forward(self, x, *, y, z=None):
        made = x + y if z is None else z
        return made, made, x, {"x": made * 2}


class Whole(nn.Module):
    """Sizes from the input, so that both of them can vary."""

    def forward(self, x):
        batch, count = x.shape
        return x.reshape(batch, count // 2, 2).flip(2).reshape(batch, count)


def seeded(make):
    torch.manual_seed(7)
    return make()


def keyed():
    return seeded(Keyed)


def words():
    return seeded(Words)


def half():
    return seeded(Plain).bfloat16()


def raising():
    raise ValueError("no such luck")


def number():
    return 3


def asking(width):
    return width
