"""Files that cannot be read among many: named, counted and skipped, until there are too many of them."""

from dataclasses import dataclass, field

from anukul.errors import UserError
from anukul.progress import say
from anukul.text.files.opened import CorruptFile

NAMED = 5  # bad files named in an error
RULE = "corrupt_file"  # of the rows that were read before a file broke off


def broke_off(reason: str) -> tuple[str, str]:
    """Return the rule, and the detail, of rows that were read before their file broke off for this reason."""
    return RULE, f"what was read before the file broke off: {reason}"


@dataclass
class BadFiles:
    """The files of a step that could not be read, and how many may be."""

    budget: int = 0
    total: int = 1  # files of all inputs
    step: str = "corpus"
    found: list[tuple[str, str]] = field(default_factory=list)  # name and reason

    @classmethod
    def within(cls, share: float, total: int, step: str = "corpus") -> "BadFiles":
        """Allow a share of the files; of several, one, unless the share is 0."""
        least = 1 if share and total > 1 else 0
        return cls(max(least, int(share * total)), total, step)

    def add(self, error: CorruptFile) -> None:
        """Take in one more; raise UserError when they are too many."""
        self.found.append((str(error.path), error.reason))
        if self.total == 1:
            raise error
        if len(self.found) > self.budget:
            named = "; ".join(f"{name}: {reason}" for name, reason in self.found[-NAMED:])
            raise UserError(
                f"{self.step}: {len(self.found)} of {self.total} files cannot be read: {named}. More than "
                f"{self.step}.max_bad_files allows ({self.budget}): repair them, leave them out, or allow more"
            )
        say(f"{self.step}: skipped {error.path}: {error.reason}")
