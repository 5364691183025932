"""How the blocks of each family of `keras.applications` end."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockEnd:
    r"""How the last layer of a block is recognised.

    Attributes:
        pattern: Regular expression that the whole layer name matches. Only names that
            Keras writes into its networks: `add_3` or `conv2d_94` vary by session.
        name: The block's name; `\1` inserts the pattern's first group.
        merge: The block ends at the layer that merges the matching one with another:
            for networks whose merging layers have no name of their own.
    """

    pattern: str
    name: str
    merge: bool = False


_RESNET = (
    BlockEnd("pool1_pool", "stem"),
    BlockEnd(r"(conv\d_block\d+)_out", r"\1"),
)
_EFFICIENTNET = (
    BlockEnd("stem_activation", "stem"),
    BlockEnd(r"(block\d[a-z])_(?:project_bn|project_activation|add)", r"\1"),
)

#: Family -> its block ends. Inception's stems have no named end: see `BackboneSpec`.
BLOCK_ENDS: dict[str, tuple[BlockEnd, ...]] = {
    "VGG": (BlockEnd(r"(block\d)_pool", r"\1"),),
    "ResNet": _RESNET,
    "ResNetV2": _RESNET,
    "Inception": (BlockEnd(r"(mixed\d+)", r"\1"),),
    "InceptionResNet": (
        BlockEnd(r"(mixed_\d[ab])", r"\1"),
        BlockEnd(r"(block\d+_\d+)_conv", r"\1", merge=True),
        BlockEnd(r"(block\d+_\d+)_ac", r"\1"),
    ),
    "Xception": (
        BlockEnd("block1_conv2_act", "stem"),
        BlockEnd(r"(block\d+)_(?:pool|sepconv3_bn)", r"\1", merge=True),
        BlockEnd("block14_sepconv2_act", "block14"),
    ),
    "MobileNet": (
        BlockEnd("conv1_relu", "stem"),
        BlockEnd(r"conv_pw_(\d+)_relu", r"block_\1"),
    ),
    "MobileNetV2": (
        BlockEnd("Conv1_relu", "stem"),
        BlockEnd("expanded_conv_project_BN", "block_0"),
        BlockEnd(r"block_(\d+)_(?:project_BN|add)", r"block_\1"),
    ),
    "MobileNetV3": (
        BlockEnd("conv_bn", "stem"),
        BlockEnd("expanded_conv_project_bn", "block_0"),
        BlockEnd(r"expanded_conv_(\d+)_(?:project_bn|add)", r"block_\1"),
    ),
    # The paper's dense blocks, with its transitions between them.
    "DenseNet": (
        BlockEnd("pool1", "stem"),
        BlockEnd(r"(conv\d)_block\d+_concat", r"\1"),
        BlockEnd(r"(pool\d)_pool", r"\1"),
    ),
    "NASNet": (
        BlockEnd("stem_bn1", "stem"),
        BlockEnd(r"reduction_concat_(stem_\d+)", r"reduction_\1"),
        BlockEnd(r"reduction_concat_reduce_(\d+)", r"reduction_\1"),
        BlockEnd(r"normal_concat_(\d+)", r"normal_\1"),
    ),
    "EfficientNet": _EFFICIENTNET,
    "EfficientNetV2": _EFFICIENTNET,
    "ConvNeXt": (
        BlockEnd(r"convnext_[a-z]+_stem", "stem"),
        BlockEnd(
            r"convnext_[a-z]+_(stage_\d_block_\d+)_(?:identity|stochastic_depth)",
            r"\1",
            merge=True,
        ),
    ),
}
