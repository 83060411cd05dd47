"""The names of the weight-change terms, and which readouts of the hidden states they take."""

# Section 4 of the paper's appendix, in the order in which the published merge stacks them.
PUBLISHED_TERMS = (
    "0_order",
    "1_order",
    "decorr_x",
    "hebb",
    "large_decay",
    "lin_lower_symm",
    "lin_upper_psd",
    "lin_upper_symm",
    "rbf",
    "sqr_lower_symm",
    "sqr_upper_symm",
    "w_base",
)
# Terms that read the hidden states of the neuron network, with the low-rank readouts that they
# take of those above ("upper") and below ("lower") their weights.
_ACROSS, _SYMMETRIC = {"upper": ("top",), "lower": ("bottom",)}, ("top", "bottom")
READOUTS = {
    "0_order": _ACROSS,
    "1_order": _ACROSS,
    "lin_lower_symm": {"lower": _SYMMETRIC},
    "lin_upper_psd": {"upper": ("top",)},
    "lin_upper_symm": {"upper": _SYMMETRIC},
    "rbf": _ACROSS,
    "sqr_lower_symm": {"lower": _SYMMETRIC},
    "sqr_upper_symm": {"upper": _SYMMETRIC},
}
# Those of the compact rule: the published rule has no term that lets units compete.
COMPACT_TERMS = ("competition", "competition_spread", "hebb_z", "scaled_decorrelation")
# Earlier compact rules and the fixed rule have decorrelation whatever the width.
TERMS = (*PUBLISHED_TERMS, *COMPACT_TERMS, "decorrelation", "learned_hebb")
# Terms with parameters of their own, which only the compact merge has.
NEED_COMPACT = ("competition", "competition_spread", "learned_hebb")


def competes(terms):
    """Whether any of the terms needs what competition changes."""
    return "competition" in terms or "competition_spread" in terms
