"""How an endpoint that speaks OpenAI's chat protocol is asked: shared by the judge and by translation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.section import Section


class EndpointSettings(Section):
    """Where an endpoint is, with which key, how often and how patiently it is asked."""

    base_url: str
    api_key_env: str | None = Field(
        "OPENAI_API_KEY", description="environment variable that holds the key; null: the endpoint wants none"
    )
    requests_per_minute: float = Field(60.0, gt=0.0)
    timeout_seconds: float = Field(60.0, gt=0.0)
    max_retries: int = Field(6, ge=0)
    retry_seconds: float = Field(
        1.0, gt=0.0, description="first wait, doubled each time; Retry-After may be longer"
    )
    output_limit_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the endpoint calls the limit of output tokens"
    )
    temperature: float | None = Field(0.0, ge=0.0, description="null: not sent, for models that refuse it")
    usd_per_million_input: float = Field(2.5, ge=0.0, description="for the estimate before the first call")
    usd_per_million_output: float = Field(10.0, ge=0.0)
    max_cost_usd: float | None = Field(
        None, gt=0.0, description="stop before the first call where it costs more"
    )

    @model_validator(mode="after")
    def _no_secrets(self) -> Self:
        plain = self.base_url.startswith(("http://", "https://"))
        if not plain or "@" in self.base_url or "?" in self.base_url:
            raise ValueError(
                "base_url must be a plain http(s) address; the key goes into the variable named by api_key_env"
            )
        return self
