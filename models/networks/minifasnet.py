"""MiniFASNet: MobileFaceNet (arXiv 1804.07573) pruned channel by channel, for presentation attack detection.

The table is of Silent-Face-Anti-Spoofing's networks V2 and V1SE (Minivision, 2020, Apache-2.0): the rows of
MobileFaceNet, of whose channels few are left. V1SE and V2SE scale the channels of each row's last block by what the
whole picture says (arXiv 1709.01507). The linear layer, the batch norm and the classifier behind the global depthwise
convolution are one matrix, for nothing bends between them: here they are one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from models.networks.blocks import ConvBlock, SqueezeExcite, Stored, activation

STEM = 32
GLOBAL = 512
EARLY = 7  # layers: the stem and the first row


@dataclass(frozen=True)
class Row:
    """One downsampling block of `hidden` channels to `out`, then residual blocks of `widths` hidden channels each."""

    hidden: int
    out: int
    widths: tuple[int, ...]


V2 = (
    Row(103, 64, (13, 13, 13, 13)),
    Row(231, 128, (231, 52, 26, 77, 26, 26)),
    Row(308, 128, (26, 26)),
)


class Block(nn.Module):
    """Expand, 3x3 depthwise, linear projection; where the shape stays, the input is added."""

    def __init__(
        self, c_in: int, hidden: int, c_out: int, *, stride: int, act: str, excite: bool = False
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1
        self.expand = ConvBlock(c_in, hidden, 1, act=act)
        self.depthwise = ConvBlock(hidden, hidden, 3, stride=stride, padding=1, groups=hidden, act=act)
        self.project = ConvBlock(hidden, c_out, 1)
        self.excite = SqueezeExcite(c_out, "relu") if excite else nn.Identity()
        self.sum = Stored()

    def forward(self, x: Tensor) -> Tensor:
        y = self.excite(self.project(self.depthwise(self.expand(x))))
        return self.sum(x + y) if self.shortcut else y


class MiniFASNet(nn.Module):
    """Map (N, 3, side, side) pictures to (N, answers) logits.

    Args:
        side_px: of the picture, a multiple of 16: 80 and 128 as published.
        answers: logits.
        rows: the table, V2 if left out.
        slopes: the layers that keep PReLU, all of them as published (None); in the others ReLU takes its place, which
            costs nothing in int8.
        excite: V2SE in place of V2.
    """

    def __init__(
        self,
        side_px: int,
        answers: int = 1,
        rows: tuple[Row, ...] = V2,
        *,
        slopes: tuple[str, ...] | None = None,
        excite: bool = False,
    ) -> None:
        super().__init__()
        self.side_px = side_px
        layers: list[nn.Module] = [
            ConvBlock(3, STEM, 3, stride=2, padding=1, act="prelu"),
            ConvBlock(STEM, STEM, 3, padding=1, groups=STEM, act="prelu"),
        ]
        c_in = STEM
        for row in rows:
            layers.append(Block(c_in, row.hidden, row.out, stride=2, act="prelu"))
            c_in = row.out
            for at, hidden in enumerate(row.widths):
                last = at == len(row.widths) - 1
                layers.append(Block(c_in, hidden, c_in, stride=1, act="prelu", excite=excite and last))
        self.trunk = nn.Sequential(*layers)
        self.widen = ConvBlock(c_in, GLOBAL, 1, act="prelu")
        self.whole = ConvBlock(GLOBAL, GLOBAL, side_px // 16, groups=GLOBAL)
        self.answer = nn.Conv2d(GLOBAL, answers, 1)
        if slopes is not None:
            self.drop_slopes(slopes)

    def drop_slopes(self, kept: tuple[str, ...]) -> None:
        """Put ReLU in the place of every layer's PReLU but those of the layers named."""
        for name, layer in self.named_modules():
            if isinstance(layer, ConvBlock) and isinstance(layer[-1], nn.PReLU) and name not in kept:
                layer[-1] = activation("relu", layer[0].out_channels)

    @property
    def early(self) -> nn.Sequential:
        """The layers up to an eighth of the side: edges and texture, and most of the work."""
        return self.trunk[:EARLY]

    def late(self, maps: Tensor) -> Tensor:
        """Return (N, 512, 1, 1), which the answers are linear in, of what `early` says."""
        return self.whole(self.widen(self.trunk[EARLY:](maps)))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.answer(self.late(self.early(pictures))).flatten(1)
