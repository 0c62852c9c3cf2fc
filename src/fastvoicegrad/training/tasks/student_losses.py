"""Losses of the student that are not in FastVoiceGrad, by frozen networks: of speakers, words and content.

All but "recogniser" look at conversions to other voices alone, as the authors' later ADCD (arXiv 2508.17868) does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import InputError
from ..data.teachers import MelRecogniser
from ..ge2e import MelGe2e
from ..losses import (
    content_consistency_loss,
    recogniser_loss,
    second_similarity_loss,
    speaker_similarity_loss,
    weighted_sum,
)
from ..models.content import ContentEncoder, ContentModel
from ..networks import load_content, load_speaker
from ..task import Batch
from .content import CONTENT_WEIGHTS, content_losses, prosody_targets
from .student_recipe import StudentRecipe


class PretrainedLosses:
    """The losses "speaker", "ge2e" and "recogniser" of conversions, by frozen networks; none at weight 0.

    Args:
        weights: of the losses, by name.
        speaker, recogniser: paths of the networks' checkpoints.
        margins: of `recogniser_loss`, for conversions.
        waves: returns recordings (N,) on which the networks' front-ends are fitted.
        ge2e: path of the weights of a second verifier.
    Attributes:
        networks: by name.
    Raises:
        InputError: `margins` does not match the recogniser.
    """

    def __init__(
        self,
        weights: dict[str, float],
        speaker: str,
        recogniser: str,
        margins: tuple[float, ...],
        waves: Callable[[], list[np.ndarray]],
        ge2e: str = "",
    ) -> None:
        self.margins = margins
        self.networks: dict[str, nn.Module] = {}
        if weights.get("speaker"):
            self.networks["speaker"] = load_speaker(speaker).requires_grad_(False)
        if weights.get("ge2e"):
            self.networks["ge2e"] = MelGe2e(ge2e, waves())
        if weights.get("recogniser"):
            network = MelRecogniser(recogniser, waves()).eval()
            if margins and len(margins) != network.depth:
                raise InputError(f"the recogniser has {network.depth} blocks; recogniser_margins needs as many")
            self.networks["recogniser"] = network

    def __call__(self, made: Tensor, real: Tensor, conversion: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The losses.

        Args:
            made, real: log-mel (B, 80, T) of reconstructions and of what they should be.
            conversion: log-mel (B', 80, T) of conversions of the first B' <= B - 1 of `real`, or 0 without any.
            batch: has "verified_speaker" and "to_verified_speaker"; for "ge2e" also "to_reference".
        """
        losses = {}
        if "speaker" in self.networks:
            target, source = batch["to_verified_speaker"], batch["verified_speaker"][: len(conversion)]
            losses["speaker"] = speaker_similarity_loss(self.networks["speaker"](conversion), target, source)
        if "ge2e" in self.networks:
            losses["ge2e"] = self._ge2e(conversion, batch["to_reference"], real[: len(conversion)])
        if "recogniser" in self.networks:
            losses["recogniser"] = self._recogniser(made, real, conversion)
        return losses

    def _ge2e(self, conversion: Tensor, reference: Tensor, source: Tensor) -> Tensor:
        """`second_similarity_loss` of conversions (B', 80, T), with frames of the target and the source's crops."""
        verifier = self.networks["ge2e"]
        with torch.no_grad():
            target, other = verifier(reference), verifier(source)
        return second_similarity_loss(verifier(conversion), target, other)

    def _recogniser(self, made: Tensor, real: Tensor, conversion: Tensor) -> Tensor:
        """`recogniser_loss` of reconstructions and, up to the margins, of conversions, against the real speech."""
        recogniser, count, converted = self.networks["recogniser"], len(made), len(conversion)
        with torch.no_grad():
            target = recogniser(real)
        features = recogniser(torch.cat([made, conversion]) if converted else made)
        loss = recogniser_loss([layer[:count] for layer in features], target, ())
        if converted:
            sources = [layer[:converted] for layer in target]
            loss = loss + recogniser_loss([layer[count:] for layer in features], sources, self.margins)
        return loss


class ExtraLosses:
    """Named losses on reconstructions and conversions; none where all their weights are 0.

    Args:
        waves: see `PretrainedLosses`.
    Attributes:
        networks: the frozen networks, by name.
    Raises:
        InputError: `recogniser_margins` does not match the recogniser.
    """

    def __init__(self, recipe: StudentRecipe, waves: Callable[[], list[np.ndarray]]) -> None:
        self.recipe = recipe
        self.pretrained = PretrainedLosses(
            recipe.weights, recipe.speaker, recipe.recogniser, recipe.recogniser_margins, waves, recipe.ge2e
        )
        self.networks = dict(self.pretrained.networks)
        if recipe.content:
            self.networks["content"] = load_content(recipe.content).requires_grad_(False)

    @property
    def content_encoder(self) -> ContentEncoder | None:
        """The frozen content encoder, where the recipe names one."""
        model = self.networks.get("content")
        return None if model is None else cast(ContentModel, model).encoder

    def __call__(self, made: Tensor, conversion: Tensor, batch: Batch, conversions: Batch) -> dict[str, Tensor]:
        """The losses, in the order of the sum.

        Args:
            made: log-mel (B, 80, T) of the reconstructions.
            conversion: log-mel (B', 80, T) of the conversions, B' <= B - 1, or 0 without any.
            batch: of the step, with the targets of `conversion_targets`.
            conversions: the conversions' batch, with `units_logits` and `prosody` where the encoder is trained.
        """
        losses = self.pretrained(made, batch["mel"], conversion, batch)
        if self.recipe.weights.get("consistency"):
            losses["consistency"] = self.consistency(conversion, batch)
        if self.recipe.train_content:
            losses["content"] = self._content(batch, conversions)
        return losses

    def consistency(self, conversion: Tensor, batch: Batch) -> Tensor:
        """`content_consistency_loss` of conversions and their sources."""
        encode = self.content_encoder
        assert encode is not None
        return content_consistency_loss(encode(conversion), encode(batch["to_source"]))

    def _content(self, batch: Batch, conversions: Batch) -> Tensor:
        """`content_losses` of the content encoder in training, on the sources of conversions."""
        prosody = prosody_targets(batch["to_source"], conversions["pitch"], conversions["median_pitch"])
        outputs = {name: conversions[name] for name in ("units_logits", "prosody")}
        heads = content_losses(outputs, {"units": conversions["units"]} | prosody)
        return weighted_sum(heads, CONTENT_WEIGHTS)
