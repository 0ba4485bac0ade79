"""The public class as a person meets it: signatures, help and types of its methods."""

import inspect
import os
import typing

import pytest

import esmkit
from esmkit.attention.maps import AttentionMaps
from esmkit.contacts import ContactMap
from esmkit.embeddings.embed import Embedding
from esmkit.score.protein_score import ProteinScore
from esmkit.sequences.many import Results

COMMON = {"long": "window", "on_invalid": "error"}
LAST = {"progress": False}
OPTIONS = {
    "embed": (Embedding, {"layers": -1, "residues": True, **COMMON, "batch_tokens": 4_096, **LAST}),
    "attention": (
        AttentionMaps,
        {"heads": None, "layers": "all", **COMMON, "batch_tokens": 2_048, **LAST},
    ),
    "contacts": (
        ContactMap,
        {"head": None, "heads": None, **COMMON, "batch_tokens": 2_048, **LAST},
    ),
    "score": (ProteinScore, {"masked": True, **COMMON, "batch_tokens": 16_384, **LAST}),
    "pseudo_perplexity": (float, {**COMMON, "batch_tokens": 16_384, **LAST}),
}


def options_of(signature: inspect.Signature) -> dict[str, object]:
    """Return the keyword options and their defaults; nothing takes options without a name."""
    kinds = {p.kind for p in signature.parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {
        name: p.default
        for name, p in signature.parameters.items()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }


@pytest.mark.parametrize("name", OPTIONS)
def test_methods_show_every_option(name: str):
    result, options = OPTIONS[name]
    method = getattr(esmkit.Esm2, name)
    whole = inspect.signature(method)
    assert list(whole.parameters)[1] == "proteins"
    assert options_of(whole) == options
    assert all(f"{option}" in method.__doc__ for option in options)
    names = {"Encoder": esmkit.Esm2}  # imported for types only
    single, many = (
        typing.get_type_hints(one, localns=names) for one in typing.get_overloads(method)
    )
    assert single["return"] is result
    assert typing.get_origin(many["return"]) is Results
    assert typing.get_args(many["return"]) == (result,)
    assert {str, esmkit.Protein} < set(typing.get_args(single["proteins"]))
    assert os.PathLike in [typing.get_origin(one) for one in typing.get_args(many["proteins"])]
    for one in typing.get_overloads(method):  # what an editor shows is what is done
        assert options_of(inspect.signature(one)) == options
        hints, of_method = (typing.get_type_hints(f, localns=names) for f in (one, method))
        assert {o: hints[o] for o in options} == {o: of_method[o] for o in options}
