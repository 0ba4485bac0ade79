"""What is worth saying in full once a day, and not with every command."""

import datetime
import hashlib

__all__ = ["told_today"]


def told_today(text: str) -> bool:
    """Tell whether a text was said on this machine today, by whatever command; from now on it was.

    What was said lies in esmkit's cache, as the hash of each text with the date. Where nothing can
    be kept there, a text counts as new.

    Parameters
    ----------
    text : str

    Returns
    -------
    bool
    """
    from esmkit.encoder.checkpoints.fetch import cache_folder
    from esmkit.errors import EsmkitError

    today = datetime.date.today().isoformat()
    try:
        folder = cache_folder("told")
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        if place.is_file() and place.read_text(encoding="utf-8") == today:
            return True
        place.write_text(today, encoding="utf-8")
    except (OSError, ValueError, EsmkitError):
        return False
    return False
