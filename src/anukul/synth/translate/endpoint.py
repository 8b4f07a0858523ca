"""Translation by a model that is told to translate, behind any endpoint that speaks OpenAI's chat protocol."""

import threading
from concurrent.futures import ThreadPoolExecutor

from anukul.config import TranslateSettings
from anukul.endpoint import Asker, Client, EndpointError, Reply, check_client, read_reply
from anukul.errors import UserError
from anukul.languages import Language
from anukul.synth.translate.base import Told, Translation, Use, not_ended, translate_texts
from anukul.synth.translate.paid import Paid

ROW_FAULTS = {0, 400, 413, 422}  # may be one text's own fault: no usable answer, refused as it is, too large
IN_A_ROW = 8  # requests without an answer after each other: it is the endpoint and not the texts
# What servers call the end that the model chose itself: OpenAI's word, and those of others
WHOLE = {"stop", "stop_sequence", "eos", "eos_token", "end_turn"}
CUT = {"length", "max_tokens", "model_length"}
BYTES_PER_TOKEN = 3.0  # a guess that errs to the safe side for scripts that tokenizers cut finely


class EndpointTranslator:
    """An endpoint with a prompt; lines go one by one, so that structure stays."""

    def __init__(
        self,
        settings: TranslateSettings,
        source: Language,
        target: Language,
        name: str,
        told: Told,
        use: Use,
    ) -> None:
        """Make ready to ask; raise UserError where the client or the key is missing."""
        if settings.endpoint is None:
            raise ValueError("no endpoint is configured")
        self.settings = settings
        self.endpoint = settings.endpoint
        self.source, self.target = source, target
        self.name = name
        self.told = told
        self.asker = Asker(f"{use.where}.endpoint", "translate", "The shards so far are kept")
        check_client(self.endpoint, self.asker)
        self.client = Client(self.endpoint, self.asker, settings.model, settings.max_output_tokens)
        self._paid = Paid(use.paid)
        self._silent = 0
        self._lock = threading.Lock()

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; raise UserError where the endpoint refuses every text, or costs more than allowed."""
        limit = self.settings.max_output_tokens
        return translate_texts(texts, self.source, self.target, _size, limit, self._pieces)

    def _pieces(self, pieces: list[str]) -> list[Translation]:
        with ThreadPoolExecutor(self.endpoint.concurrent) as pool:
            asked = [pool.submit(self._ask, piece) for piece in pieces]
            try:
                return [one.result() for one in asked]
            except BaseException:
                for one in asked:
                    one.cancel()
                raise

    def _ask(self, piece: str) -> Translation:
        self._within_cost()
        prompt = self.endpoint.prompt.format(source=self.source.name, target=self.target.name, text=piece)
        try:
            body = self.client.ask([{"role": "user", "content": prompt}])
        except EndpointError as error:
            self._count_silence(error)
            return Translation("", False, 0, "translation_failed", str(error)[:200])
        reply = read_reply(body)
        if reply is None:
            raise ValueError("the client let through what is not a chat completion")
        with self._lock:
            self._silent = 0
        given, made = reply.input_tokens or 0, reply.output_tokens or 0
        self._pay(prompt, reply)
        self.told(made, 1)
        text = "\n".join(line.strip() for line in reply.text.strip().split("\n") if line.strip())
        if reply.finish in CUT:
            return not_ended(text, made, given)
        if not text or reply.finish not in WHOLE:
            why = _why(reply.finish) if text else "the answer is empty"
            return Translation(text, False, made, "translation_failed", why, given)
        return Translation(" ".join(text.split()), True, made, input_tokens=given)

    def _count_silence(self, error: EndpointError) -> None:
        """Raise the error where it is not about one text: refused in general, or silent time after time."""
        if error.status not in ROW_FAULTS:
            raise error
        with self._lock:
            self._silent += 1
            if self._silent >= IN_A_ROW:
                raise UserError(f"{error} ({IN_A_ROW} requests in a row failed)") from None

    def _pay(self, prompt: str, reply: Reply) -> None:
        """Write down what an answer cost; its tokens are guessed where the endpoint does not count them."""
        given = _size(prompt) if reply.input_tokens is None else reply.input_tokens
        made = _size(reply.text) if reply.output_tokens is None else reply.output_tokens
        with self._lock:
            self._paid.add(given, made)

    def _within_cost(self) -> None:
        """Raise UserError where no more may be spent."""
        most = self.endpoint.max_cost_usd
        if most is None:
            return
        with self._lock:
            given, made = self._paid.tokens()
        prices = self.endpoint.usd_per_million_input, self.endpoint.usd_per_million_output
        spent = (given * prices[0] + made * prices[1]) / 1e6
        if spent >= most:
            raise UserError(
                f"{self.asker.where}.max_cost_usd: {spent:.4g} USD are spent, {most:g} may be, earlier runs of this "
                f"step counted. {self.asker.kept}: raise it and run the command again to go on"
            )


def _why(finish: str) -> str:
    """Return in words why an answer may not be whole."""
    if finish == "content_filter":
        return "a filter of the endpoint ended it"
    said = f"finish_reason {finish!r}" if finish else "no finish_reason"
    return f"the endpoint does not say that the model ended it: {said}"


def _size(text: str) -> int:
    return int(len(text.encode("utf-8", "surrogatepass")) / BYTES_PER_TOKEN) + 1 if text else 0
