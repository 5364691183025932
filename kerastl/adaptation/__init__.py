"""When the images to judge differ from those that were learnt: adaptation."""

from kerastl._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Adaptation": "kerastl.training.domains",
        "AdaptationReport": "kerastl.adaptation.adapting",
        "Candidate": "kerastl.adaptation.choosing",
        "CoralAlign": "kerastl.adaptation.alignment",
        "GaussianMap": "kerastl.adaptation.alignment",
        "PriorShift": "kerastl.adaptation.label_shift",
        "ShiftReport": "kerastl.adaptation.label_shift",
        "StandardAlign": "kerastl.adaptation.alignment",
        "TargetScores": "kerastl.adaptation.choosing",
        "TestTimeAdapter": "kerastl.adaptation.norm_statistics",
        "adapt": "kerastl.adaptation.adapting",
        "adapt_statistics": "kerastl.adaptation.norm_statistics",
        "estimate_prior": "kerastl.adaptation.label_shift",
        "set_prior": "kerastl.adaptation.label_shift",
        "shift_report": "kerastl.adaptation.label_shift",
        "target_scores": "kerastl.adaptation.choosing",
    },
)
