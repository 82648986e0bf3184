"""One prompt, and a set of them in families: records that everything else hands around."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from refutable.errors import PromptError, near
from refutable.records import PromptSetReport

_SPECIAL = re.compile(
    r"\s*(</?s>|<(bos|eos|pad|unk|cls)>|<[|｜][^<>\s]+[|｜]>|<[a-z]+_of_[a-z]+>|\[[A-Z]{2,10}\])"
)
"""Text that is a special token in most tokenizers; markup such as ``<ul>`` is not."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, as text or as token ids, with optional named positions."""

    id: str
    """``family/index``."""
    family: str
    text: str | None = None
    input_ids: tuple[int, ...] | None = None
    spans: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Named positions among the token ids, without a BOS token that an arm puts first."""
    marks: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """Named spans of a text, as ranges of its characters; a tokenizer makes positions of them."""
    answer: str | tuple[int, ...] | None = None
    """What rightly follows the prompt: text, or token ids."""

    @property
    def shown(self) -> str:
        """The text, or the token ids written out."""
        if self.text is not None:
            return self.text
        return " ".join(map(str, self.input_ids or ()))


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Prompts grouped into families.

    `content_hash` covers prompts, families and spans, not the set's name or its remarks, so
    that two sets with the same prompts share their observations.
    """

    name: str
    prompts: tuple[Prompt, ...]
    families: Mapping[str, Mapping[str, str]]
    """Family name to its remarks (register, kind, topic, ...), as strings."""
    content_hash: str
    description: str = ""

    def __len__(self) -> int:
        return len(self.prompts)

    def may_begin_with(self, token: int | None) -> bool:
        """Whether some prompt begins with a token: with its id, or with text like a special token.

        Without the tokenizer it is not known which text a special token stands for.
        """
        if token is None:
            return False
        return any(
            _SPECIAL.match(prompt.text) is not None
            if prompt.text is not None
            else (prompt.input_ids or ())[:1] == (token,)
            for prompt in self.prompts
        )

    def remark(self, key: str) -> tuple[str, ...]:
        """One remark (e.g. ``register``) of each prompt's family; empty where a family has none."""
        return tuple(self.families[p.family].get(key, "") for p in self.prompts)

    def select(self, families: Sequence[str]) -> PromptSet:
        """Keep the named families only; an unknown family is an error."""
        for name in families:
            if name not in self.families:
                raise PromptError(
                    f"prompt set {self.name!r} has no family {name!r}: {near(name, self.families)}"
                )
        kept = tuple(p for p in self.prompts if p.family in families)
        return replace(
            self,
            name=f"{self.name}:{','.join(families)}",
            prompts=kept,
            families={k: v for k, v in self.families.items() if k in families},
            content_hash=content_hash(kept),
        )

    def report(self) -> PromptSetReport:
        """Return the set as a plain record for the evidence."""
        return PromptSetReport(
            self.name, self.content_hash, len(self.prompts), len(self.families), self.description
        )


def content_hash(prompts: Iterable[Prompt]) -> str:
    """Return the hash that two sets of the same prompts share."""
    content = [_content(p) for p in prompts]
    packed = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(packed.encode()).hexdigest()


def _content(prompt: Prompt) -> list[Any]:
    spans = {key: list(value) for key, value in sorted(prompt.spans.items())}
    content: list[Any] = [prompt.id, prompt.text, prompt.input_ids, spans]
    if prompt.marks or prompt.answer is not None:
        content += [{key: list(value) for key, value in sorted(prompt.marks.items())}]
        content += [prompt.answer]
    return content
