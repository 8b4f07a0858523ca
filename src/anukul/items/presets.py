"""Lists of lm-eval tasks under one name, each task with what is known to be weak about it."""

from dataclasses import dataclass
from typing import Literal

from anukul.config import EvaluateSettings, TaskSettings
from anukul.errors import UserError


@dataclass(frozen=True, slots=True)
class PresetTask:
    """A task of lm-eval by name, and the weakness that a reader of its number must know."""

    harness: str
    weakness: str
    generates: bool = False  # answers are generated, so lm-eval's own prompts and count of shots are used


_TRANSLATED = "Machine-translated from English"
NEPALI = (
    PresetTask(
        "belebele_npi_Deva",
        "Made by people, but its 900 questions stand on 488 passages of FLORES, which is often in training data, and "
        "the answer is a letter: small models stay at chance.",
    ),
    PresetTask(
        "global_mmlu_full_ne",
        f"{_TRANSLATED}, only partly checked by people, and many questions ask about the United States; answers are "
        "letters; clustered by subject here.",
    ),
    PresetTask(
        "include_base_44_nepali",
        "Real Nepali examinations, but only of two kinds (driving licence and professional certification), so it "
        "says little about the rest of the language.",
    ),
    PresetTask(
        "arc_ne",
        f"{_TRANSLATED} by a chat model (Okapi), unchecked: some questions lost what made one answer right.",
    ),
    PresetTask(
        "hellaswag_ne",
        f"{_TRANSLATED} by a chat model (Okapi), and bad: endings that must continue an English clause do not "
        "continue the Nepali one, whose verb stands last, so the task measures translation more than sense.",
    ),
    PresetTask(
        "m_mmlu_ne",
        f"{_TRANSLATED} by a chat model (Okapi), unchecked, with answers as letters; the same questions as "
        "global_mmlu_full_ne, so the two must not be counted as independent.",
    ),
    PresetTask(
        "truthfulqa_ne_mc1",
        f"{_TRANSLATED} by a chat model (Okapi), and about misconceptions of English speakers; the right answer is "
        "always the first choice of the file, so that a tie counts as right.",
    ),
    PresetTask(
        "mmlu_prox_ne",
        f"{_TRANSLATED} by a language model and reviewed; ten choices answered by generated reasoning, which a base "
        "model often does not end, so a low score may be a matter of form.",
        generates=True,
    ),
    PresetTask(
        "global_piqa_nonparallel_cloze_npi_deva",
        "Written by speakers of Nepali, but only about 100 items, so that its interval is wide.",
    ),
    PresetTask(
        "global_piqa_parallel_cloze_npi_deva",
        "The same few situations in every language, translated, about 100 items, so that its interval is wide.",
    ),
    PresetTask(
        "indicparam_nepali",
        "Questions of an Indian examination for lecturers (UGC-NET) on Nepali language and literature: learned matter, "
        "asked under English labels and answered by a letter, so that small models stay at chance.",
    ),
)
ENGLISH_GENERAL = (
    PresetTask("arc_easy", "School science that web text covers: close to its ceiling for large models."),
    PresetTask(
        "arc_challenge", "Chosen because word overlap failed on it; noisy below a few billion parameters."
    ),
    PresetTask(
        "hellaswag",
        "Wrong endings are made by a model and many items are ungrammatical or ambiguous; accuracy depends much on "
        "length normalisation.",
    ),
    PresetTask("piqa", "Two choices, and some pairs differ in style alone, so that guessing is at half."),
    PresetTask("winogrande", "Two choices; filtered by models, and still with shortcuts and label noise."),
    PresetTask("openbookqa", "Only 500 items: differences below four points do not show."),
    PresetTask(
        "boolq", "Six of ten answers are yes: always saying yes scores .62, which chance of .5 hides."
    ),
    PresetTask("sciq", "The passage mostly holds the answer: measures reading, and is close to its ceiling."),
    PresetTask(
        "lambada_openai", "One word, right or wrong, so that its value falls at once with another domain."
    ),
)
PRESETS: dict[Literal["nepali", "english-general"], tuple[str, str, tuple[PresetTask, ...]]] = {
    "nepali": ("npi_Deva", "target", NEPALI),
    "english-general": ("eng_Latn", "forgetting", ENGLISH_GENERAL),
}


def expand(settings: EvaluateSettings, language: str) -> list[tuple[TaskSettings, str]]:
    """Return every task of the settings with its known weakness: those of presets, then those written out.

    A task written out with the `harness` name of a preset's takes its place. The role is target where the task is in
    the language to learn, else forgetting.
    """
    own = {task.harness for task in settings.tasks if task.harness}
    named = {task.name for task in settings.tasks}
    weaknesses = {task.harness: task.weakness for _, _, tasks in PRESETS.values() for task in tasks}
    found: list[tuple[TaskSettings, str]] = []
    for preset in dict.fromkeys(settings.presets):
        spoken, _, tasks = PRESETS[preset]
        for task in tasks:
            if task.harness in own:
                continue
            if task.harness in named:
                raise UserError(
                    f"evaluate.tasks: the preset {preset} has a task '{task.harness}'; choose another name"
                )
            found.append(
                (
                    TaskSettings(
                        name=task.harness,
                        harness=task.harness,
                        language=spoken,
                        role="target" if spoken == language else "forgetting",
                        shots="lm-eval" if task.generates else None,
                    ),
                    task.weakness,
                )
            )
    return found + [(task, weaknesses.get(task.harness or "", "")) for task in settings.tasks]
