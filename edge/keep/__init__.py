"""Which samples are worth a second look.

- `candidate`: one frame through all of it: verdict, hash, privacy.
- `policy`: the verdict: what asks for a sample, then what speaks against it.
- `rules`, `scores`: what asks, one function each, and what those look at.
- `context`: what a bundle says beside its policy: thresholds, which stage knows which classes.
- `duplicates`, `budget`: what speaks against: near-duplicates, limits in a minute, an hour, a day.
- `ledger`: what was kept lately: all that the rules, duplicates and budgets need to know.
- `privacy`, `blur`: who says that a picture is blurred or not kept, and the blurring.

All but decoding and encoding are pure functions of frozen values.
"""
