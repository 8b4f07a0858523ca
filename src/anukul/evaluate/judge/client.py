"""The judge's endpoint: the shared client, asking in the judge's name."""

from anukul import endpoint
from anukul.config import JudgeSettings

WHERE = "evaluate.generation.judge"
ASKER = endpoint.Asker(WHERE, "judge", "The verdicts so far are kept")


def check_client(settings: JudgeSettings) -> None:
    """Raise UserError where the judge cannot be asked: no client installed, or no key in the environment."""
    endpoint.check_client(settings, ASKER)


class Client(endpoint.Client):
    """The judge's endpoint; used as a context manager."""

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings, ASKER, settings.model, settings.max_output_tokens)
