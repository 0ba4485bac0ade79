"""Figures use nothing of a result but what their protocol has."""

from typing import Any

import numpy as np
import pandas
import pytest

from esmkit import plots
from esmkit.attention.maps import AttentionMaps
from esmkit.contacts.calibration import reliability
from esmkit.contacts.map import ContactMap
from esmkit.data import demo_structure
from esmkit.encoder.names import choose_heads
from esmkit.inside import LogitLens, Patching
from esmkit.plots import protocols
from esmkit.score.protein_score import ProteinScore
from oracles.head_profiles import made_ablation, made_profile, with_repeats


class Only:
    """A result of which nothing can be reached but what a protocol has."""

    def __init__(self, result: Any, protocol: type) -> None:
        self._result, self._names = result, vars(protocol)

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AssertionError(f"the protocol has no {name}")
        found = getattr(self._result, name)
        return Only(found, protocols.Rules) if name == "rules" else found

    def __len__(self) -> int:
        assert "__len__" in self._names
        return len(self._result)

    def __getitem__(self, name: str) -> Any:
        assert "__getitem__" in self._names
        return self._result[name]


def made_maps() -> AttentionMaps:
    """All maps of a model of 2 layers of 2 heads, at random."""
    random = np.random.default_rng(0)
    rows = random.dirichlet(np.ones(12), (4, 10)).astype(np.float32)  # BOS, residues, EOS
    return AttentionMaps(
        "made",
        "made",
        "MKTAYIAKQR",
        choose_heads(None, "all", of_layers=2, of_heads=2),
        rows[:, :, 0],
        rows[:, :, -1],
        lambda place: rows[place, :, 1:-1],
        checkpoint="tiny",
    )


def made_contacts() -> ContactMap:
    structure = demo_structure()
    values = np.random.default_rng(0).random((len(structure),) * 2).astype(np.float32)
    values += values.T
    return ContactMap("made", "made", structure.sequence, values / np.float32(2), source="made")


DRAW = {
    "attention_arcs": lambda: plots.attention_arcs(_maps(), "L1H0"),
    "attention_flow": lambda: plots.attention_flow(_maps()),
    "attention_grid": lambda: plots.attention_grid(_maps()),
    "attention_head": lambda: plots.attention_head(_maps(), "L1H0"),
    "contact_map": lambda: plots.contact_map(_contacts(), demo_structure()),
    "ablation_scatter": lambda: plots.ablation_scatter(_profile(), made_ablation()),
    "masked_loss": lambda: plots.masked_loss(
        _profile(),
        made_ablation().assign(
            masked_lm_loss_change=0.01,
            masked_lm_loss_low=0.0,
            masked_lm_loss_high=0.02,
            masked_lm_loss_q=0.01,
            masked_lm_residues=100,
        ),
    ),
    "offset_profiles": lambda: plots.offset_profiles(_profile(), ["L1H2"]),
    "property_grid": lambda: plots.property_grid(_profile(), "disulfide"),
    "property_map": lambda: plots.property_map(_profile()),
    "reliability_diagram": lambda: plots.reliability_diagram(_reliability()),
    "repeat_scores": lambda: plots.repeat_scores(_profile(with_repeats(made_profile()))),
    "head_card": lambda: plots.head_card(_card()),
    "head_effects": lambda: plots.head_effects(_patching(protocols.Effects)),
    "position_effects": lambda: plots.position_effects(_patching(protocols.PositionEffects)),
    "logit_lens": lambda: plots.logit_lens(_lens()),
    "logo": lambda: plots.logo(_scores()),
    "surprise": lambda: plots.surprise(_scores()),
}
TABLES = {"head_precision_grid", "precision_by_rank", "variant_map", "variant_scatter"}
"""Figures that take tables alone."""


def _reliability() -> Any:
    made = made_contacts()
    return Only(reliability([made.onto(demo_structure())]), protocols.Reliable)


def _maps() -> Any:
    return Only(made_maps(), protocols.Maps)


def _contacts() -> Any:
    return Only(made_contacts(), protocols.Contacts)


def _profile(profile: Any = None) -> Any:
    return Only(profile or made_profile(), protocols.Profile)


def _card() -> Any:
    return Only(made_profile().head("L1H2"), protocols.Card)


def _patching(protocol: type) -> Any:
    """Two residues of one layer with two heads, and a restoration for each token."""
    rows = [
        {"activation": f"L0H{head}.output", "layer": 0, "head": head, "step": "head_output"}
        | {"token": str(token), "change": 0.1 * token, "restoration": 0.1 * token - head}
        for head in range(2)
        for token in range(4)
    ]
    made = ("made", "MK", "other", "MA", (2,), "log-odds", 2.0, 1.0, True, 0.5, "tiny")
    return Only(Patching(*made, pandas.DataFrame(rows)), protocol)


def _scores() -> Any:
    logits = np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return Only(ProteinScore("made", "", "MKX", logs), protocols.Scores)


def _lens() -> Any:
    logits = np.random.default_rng(0).normal(size=(3, 4, 33)).astype(np.float32)
    return Only(LogitLens("made", "", "MKTX", ("embedding", "L0", "L1"), logits), protocols.Lens)


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_needs_nothing_but_its_protocol(name: str):
    assert DRAW[name]().get_suptitle()


NO_FIGURES = {"COLOURS", "draw_matrix", "map_colours", "notebook_style", "residue_axis"}
"""What is there for figures of one's own; see test_plots_notebooks."""


def test_every_figure_is_drawn_here():
    assert set(plots.__all__) - {"inline_html", "save"} - NO_FIGURES == set(DRAW) | TABLES
