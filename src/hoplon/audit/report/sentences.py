"""What the numbers mean, in plain sentences."""

from .charts.distances import ROUNDING, count
from .schema import Attack, Calibration, Certificates, Clean, Norm, Result, Scope
from .words import THIN, interval, listed, norm_name, number, percent, plural, shape


def scope(result: Result) -> str:
    """Who was audited, on what, against whom."""
    s, model = result.scope, result.scope.model
    facts = [
        f"{plural(model.parameters, 'parameter')}" if model.parameters else "",
        f"{model.classes} classes",
    ]
    facts.append(f"images of {shape(model.input_shape)}" if model.input_shape else "")
    split = f" ({s.data.split} split)" if s.data.split else ""
    asked = f"This audit asks how the classifier {model.name} ({', '.join(f for f in facts if f)}) performs on "
    return asked + f"{plural(s.data.n, 'image')} of {s.data.name}{split}, {_attacker(result)}."


def _attacker(result: Result) -> str:
    evasion = result.evasion
    if not evasion or not (evasion.norms or evasion.attacks):
        return "without an attacker"
    sees = any(a.gradients for a in evasion.attacks)
    knows = "knows the model completely (white box)" if sees else "sees only the model's answers (black box)"
    balls = [_radius(n) for n in evasion.norms]
    reach = f" by at most {listed(balls, 'or')}" if balls else ""
    n = result.scope.attacked
    some = f"; {plural(n, 'image was', 'images were')} attacked" if n else ""
    return f"as they are, and against an attacker who {knows} and changes single images{reach}{some}"


def verdict(result: Result) -> str:
    """The whole report in one breath."""
    share = result.clean.accuracy if result.clean else None
    norms = result.evasion.norms if result.evasion else []
    left = [f"at most {percent(a)} for {_radius(n)}" for n, a in _left(norms)]
    if share is None and not left:
        return "Nothing has been measured yet."
    if share is None:
        return f"Of images changed by an attacker the model names {listed(left)} right."
    end = f"when an attacker changes them, {listed(left)}" if left else "no attack has been measured"
    return f"The model names {percent(share.value)} of unchanged images right; {end}."


def _radius(norm: Norm) -> str:
    return f"{norm.eps_text[norm.headline]} in {norm_name(norm.norm)}"


def _left(norms: list[Norm]) -> list[tuple[Norm, float]]:
    worst = [(n, n.worst_case.robust_accuracy[n.headline] if n.worst_case else None) for n in norms]
    return [(n, a) for n, a in worst if a is not None]


def bounds(s: Scope) -> str:
    """The box of valid images, per channel where it differs."""
    low, high = (", ".join(map(number, b)) if isinstance(b, list) else number(b) for b in s.bounds)
    return f"{low} to {high}"


def clean(part: Clean) -> str:
    """Accuracy with interval."""
    if part.accuracy is None:
        return "Accuracy on unchanged images was not measured."
    a = part.accuracy
    of = f"{number(round(a.value * a.n))} of {number(a.n)} unchanged images are named right"
    return f"{of}: {percent(a.value)} ({interval(a.low, a.high)})."


def calibrated(c: Calibration) -> str:
    """Whether confidence can be taken at its word."""
    full = [b for b in c.bins if b.n and b.confidence is not None and b.accuracy is not None]
    total = sum(b.n for b in full) or 1
    lean = sum(b.n * ((b.confidence or 0.0) - (b.accuracy or 0.0)) for b in full) / total
    word = "too sure of itself" if lean > 0 else "less sure than it could be"
    start = f"Confidence and accuracy differ by {100 * c.ece:.2g} percentage points on average (ECE)"
    return f"{start}; on the whole the model is {word}." if abs(lean) >= 0.01 else f"{start}."


def security(norm: Norm) -> str:
    """The worst case at the headline radius."""
    h, worst = norm.headline, norm.worst_case
    value = worst.robust_accuracy[h] if worst else None
    if worst is None or value is None:
        return f"No attack in {norm_name(norm.norm)} has finished at {norm.eps_text[h]}."
    left = f"at most {percent(value)} of {number(worst.n)} images are still named right"
    return (
        f"When every image may change by up to {norm.eps_text[h]} in {norm_name(norm.norm)}, {left} "
        f"({interval(worst.low[h], worst.high[h])}). {_least(norm)}"
    )


def _least(norm: Norm) -> str:
    """What bounds robust accuracy from below."""
    if not any(norm.certified[1:]):
        return "A stronger attack can only lower this number."
    share = percent(norm.certified[norm.headline])
    return f"A stronger attack can lower this number, but never below the {share} that are certified."


def certified(part: Certificates) -> str:
    """What is proven, in general."""
    start = f"{number(part.certified)} of {plural(part.n, 'image')} have a certificate: a radius within which"
    start += " no change at all, by whatever attack, makes the model name another class."
    if not part.certified or part.median_radius is None:
        whole = "no bound" if part.lipschitz is None else number(part.lipschitz)
        return f"{start} The network's Lipschitz constant is at most {whole}."
    return f"{start} Half of the radii are at least {number(part.median_radius)} in L2, in units of the data."


def flips(part: Certificates) -> str:
    """What any trigger can do at most, at the largest radius at which that is less than half."""
    telling = [f for f in part.flips if f.share < 0.5] or part.flips[:1]
    f = telling[-1]
    return f"No change of L2 size at most {f.eps_text} flips more than {percent(f.share)} of the images named right."


def distances(norm: Norm) -> str:
    """Where the typical image breaks."""
    found = count(norm)
    never = f"{plural(found.never, 'was', 'were')} never broken" if found.never else "every one was broken"
    start = f"Of {plural(found.total, 'correctly named image')}, {never}."
    if found.median is None:
        return f"{start} Less than half could be broken, so there is no median distance."
    within = f"{number(found.median)} in units of the data{_reached(norm, found.median)}"
    return f"{start} Half break within {within}."


def _reached(norm: Norm, distance: float) -> str:
    texts = [text for eps, text in zip(norm.eps, norm.eps_text) if distance <= eps * ROUNDING]
    return f", so within {texts[0]}" if texts else ""


def attacks(rows: list[Attack]) -> str:
    """How many attacks ran, and whether some did not."""
    done = sum(a.status == "done" for a in rows)
    if done == len(rows):
        return f"All {plural(done, 'attack')} finished." if done > 1 else "The attack finished."
    states = [(sum(a.status == s for a in rows), s) for s in ("failed", "missing")]
    return f"{done} of {len(rows)} attacks finished; {listed([f'{n} {s}' for n, s in states if n])}."


def checks(statuses: list[str]) -> str:
    """How the pre-flight went."""
    words = (("fail", "failed"), ("warn", "warned"), ("pass", "passed"))
    counts = [(statuses.count(status), word) for status, word in words]
    return f"{plural(len(statuses), 'check')}: {listed([f'{n} {word}' for n, word in counts if n])}."


def seconds(value: float) -> str:
    """2 h 3 min, 4 min 5 s or 12.3 s."""
    if value < 60:
        return f"{value:.1f}{THIN}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {rest}{THIN}s"
    return f"{minutes // 60}{THIN}h {minutes % 60}{THIN}min"
