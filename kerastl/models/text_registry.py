"""What is known of each text family of keras-hub: blocks, mask, padding. Data only."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class TextSpec:
    """What is known about one family of text networks.

    Attributes:
        name: The family's name in the literature.
        backbone: Its class in `keras_hub.models`.
        presets: What the names of its presets begin with.
        block: Pattern of the layers that are one block each.
        embeddings: Pattern of the layers that make up the stem, wherever they lie.
        pad_id: What its usual tokenizer pads with. The mask tells what is padding,
            never this number.
        causal: Whether a token sees only those before it.
        pooler: Layer that its authors trained on the first token; empty: none.
        has_mask: Whether it takes a padding mask. Without one the padding is read as
            text, and changes the output.
        flat: Whether its layers can be written to a file one by one. Otherwise it
            stays one nested layer, and nothing can be cut inside it.
        shared: Whether one layer is called again and again: then it is one block.
    """

    name: str
    backbone: str
    presets: str
    block: str = r"transformer_layer_\d+"
    embeddings: str = r".*embedding.*"
    pad_id: int = 0
    causal: bool = False
    pooler: str = ""
    has_mask: bool = True
    flat: bool = True
    shared: bool = False


_POOLER = "pooled_dense"

#: In the order of their papers' years, encoders first.
_FAMILIES = (
    TextSpec("BERT", "BertBackbone", "bert_", pooler=_POOLER),
    TextSpec("RoBERTa", "RobertaBackbone", "roberta_", pad_id=1),
    TextSpec("XLM-R", "XLMRobertaBackbone", "xlm_roberta_", pad_id=1),
    TextSpec("DistilBERT", "DistilBertBackbone", "distil_bert_"),
    TextSpec(
        "ALBERT",
        "AlbertBackbone",
        "albert_",
        block=r"group_\d+_inner_layer_\d+",
        pooler=_POOLER,
        shared=True,
    ),
    TextSpec("ELECTRA", "ElectraBackbone", "electra_", pooler=_POOLER),
    TextSpec(
        "DeBERTa v3",
        "DebertaV3Backbone",
        "deberta_v3_",
        block=r"disentangled_attention_encoder_layer_\d+",
        flat=False,
    ),
    TextSpec(
        "FNet",
        "FNetBackbone",
        "f_net_",
        block=r"f_net_layer_\d+",
        pad_id=3,
        pooler=_POOLER,
        has_mask=False,
    ),
    TextSpec("GPT-2", "GPT2Backbone", "gpt2_", causal=True),
    TextSpec("OPT", "OPTBackbone", "opt_", pad_id=1, causal=True),
    TextSpec(
        "Gemma",
        "GemmaBackbone",
        "gemma_",
        block=r"decoder_block_\d+",
        causal=True,
        flat=False,
    ),
    TextSpec("Llama", "LlamaBackbone", "llama", causal=True, flat=False),
)

#: Class of keras-hub -> the family.
TEXT_REGISTRY: dict[str, TextSpec] = {spec.backbone: spec for spec in _FAMILIES}

#: Normalisation layers of keras-hub that are none of Keras's.
HUB_NORMALISATIONS = ("RMSNormalization", "LlamaLayerNorm")


def match_text_preset(name: str) -> TextSpec | None:
    """The family of a preset's name, or None: `"bert_tiny_en_uncased"`.

    Args:
        name: As keras-hub calls it.

    Example:
        >>> match_text_preset("distil_bert_base_en").name
        'DistilBERT'
    """
    found = [s for s in _FAMILIES if re.match(s.presets + r"[a-z\d]", name)]
    return found[0] if found else None
