"""One cell of `recipes.py` with one seed: images, and classifiers trained on them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from cells import augmentation

import kerastl
from kerastl.data.sets import ImageSet
from kerastl.training.recipes import recipe_phases


@dataclass(frozen=True)
class Job:
    """One cell with one seed: the images, and a fresh classifier when asked.

    Attributes:
        train: Training images.
        check: Images that choose the best epoch; None: the last one counts.
        test: Images that choose nothing.
        whole: Training images and those that choose, together.
        side: Of the images, in pixels.
        weights: `"tiny"` or `"imagenet"`.
        seed: Of everything.
    """

    train: ImageSet
    check: ImageSet | None
    test: ImageSet
    whole: ImageSet
    side: int
    weights: str
    seed: int

    def model(self) -> keras.Model:
        """A classifier whose head is new."""
        backbone = kerastl.build_backbone(
            "MobileNet", alpha=0.25, weights=self.weights, image_size=self.side
        )
        names = self.train.class_names
        return kerastl.build_classifier(backbone, names, seed=self.seed)

    def phases(
        self,
        model: keras.Model,
        recipe: str = "lp_ft",
        *,
        batch_size: int = 32,
        craft: dict[str, Any] | None = None,
        as_it_is: bool = False,
        **options: Any,
    ) -> list[kerastl.Phase]:
        """A recipe's phases, warming up for one epoch as the first default did.

        Args:
            model: The classifier.
            recipe: Its name.
            batch_size: Images in a step.
            craft: Settings of each phase that opens the backbone.
            as_it_is: Keep the recipe's own warm-up.
            options: Of `recipe_phases`.
        """
        steps = -(-len(self.train) // batch_size)
        phases = recipe_phases(model, recipe, steps_per_epoch=steps, **options)
        return [
            replace(
                phase,
                warmup=phase.warmup if as_it_is else min(1.0, phase.epochs / 2),
                **(craft or {}),
            )
            if phase.opens_backbone
            else phase
            for phase in phases
        ]

    def run(
        self, model: keras.Model, phases: Sequence[kerastl.Phase], **options: Any
    ) -> keras.Model:
        """The model, trained in these phases as the default would be."""
        settings = {"augment": augmentation(self.train), "seed": self.seed, **options}
        kerastl.run_phases(
            model, self.train, self.check, phases=phases, verbose=0, **settings
        )
        return model

    def tuned(
        self,
        recipe: str = "lp_ft",
        *,
        craft: dict[str, Any] | None = None,
        as_it_is: bool = False,
        batch_size: int = 32,
        epochs: Sequence[int] | None = None,
        learning_rate: float | None = None,
        **options: Any,
    ) -> keras.Model:
        """A new classifier, trained; by the default unless told otherwise."""
        model = self.model()
        phases = self.phases(
            model,
            recipe,
            craft=craft,
            as_it_is=as_it_is,
            batch_size=batch_size,
            epochs=epochs,
            learning_rate=learning_rate,
        )
        return self.run(model, phases, batch_size=batch_size, **options)

    def right(self, model: keras.Model, **options: Any) -> int:
        """Test images that are right."""
        accuracy = kerastl.evaluate(model, self.test, **options).accuracy
        return round(accuracy * len(self.test))
