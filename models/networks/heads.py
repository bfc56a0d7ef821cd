"""Network heads: an embedding, FaceNet's bottleneck, or the papers' own classifier; and the class weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from models.networks.blocks import ConvBlock


def global_depthwise_head(c_in: int, size: tuple[int, int], dim: int) -> nn.Sequential:
    """Weigh every place of the map (linear global depthwise convolution, arXiv 1804.07573, section 3.2), then `dim`."""
    return nn.Sequential(ConvBlock(c_in, c_in, size, groups=c_in), ConvBlock(c_in, dim, 1), nn.Flatten())


def bottleneck_head(c_in: int, dim: int, dropout: float) -> nn.Sequential:
    """Global average pooling, dropout, a `dim`-wide bottleneck and batch norm: FaceNet's head on a mobile trunk.

    The bottleneck is a 1x1 convolution of the pooled map, the same sums as a linear layer. L2 is left to the losses
    and to the board, as for every network here.
    """
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), ConvBlock(c_in, dim, 1), nn.Flatten())


def classifier_head(c_in: int, classes: int, dropout: float) -> nn.Sequential:
    """Global average pooling, dropout and logits by a 1x1 convolution: the authors' classifier on ImageNet."""
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Dropout(dropout), nn.Conv2d(c_in, classes, 1), nn.Flatten()
    )


class Classifier(nn.Module):
    """One weight vector an identity: maps (B, D) embeddings to (B, C) cosines; used in training only."""

    def __init__(self, centers: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(centers))

    def forward(self, embeddings: Tensor) -> Tensor:
        return F.linear(F.normalize(embeddings), F.normalize(self.weight))
